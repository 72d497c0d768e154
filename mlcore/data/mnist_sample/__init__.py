"""The bundled sample of MNIST: train.h5, validation.h5, test.h5 and what made them."""
