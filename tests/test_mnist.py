"""The main job: the default network reaches 96.0 % on the bundled test images."""

from mlcore import data, schedules
from mlcore.config import RunConfig


def test_the_defaults_reach_96_per_cent():
    parts = data.load("mnist-sample")
    config = RunConfig()
    model = config.make_model(10)
    history = model.fit(
        parts.train,
        loss="softmax_cross_entropy",
        optimizer=config.make_optimizer(),
        epochs=config.epochs,
        batch_size=config.batch_size,
        schedule=schedules.get(config.schedule),
        evaluate_train=False,
        verbose=0,
    )
    assert len(history) == 50
    assert model.evaluate(parts.test)["accuracy"] >= 0.96
