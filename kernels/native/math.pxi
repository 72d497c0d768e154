"""The functions of libm by one name for both precisions."""

from libc cimport math as libm


cdef inline real exponential(real x) noexcept nogil:
    return libm.expf(x) if real is float else libm.exp(x)


cdef inline real exponential_less_one(real x) noexcept nogil:
    return libm.expm1f(x) if real is float else libm.expm1(x)


cdef inline real logarithm(real x) noexcept nogil:
    return libm.logf(x) if real is float else libm.log(x)


cdef inline real logarithm_of_one_plus(real x) noexcept nogil:
    return libm.log1pf(x) if real is float else libm.log1p(x)


cdef inline real hyperbolic_tangent(real x) noexcept nogil:
    return libm.tanhf(x) if real is float else libm.tanh(x)


cdef inline real error_function(real x) noexcept nogil:
    return libm.erff(x) if real is float else libm.erf(x)


cdef inline real square_root(real x) noexcept nogil:
    return libm.sqrtf(x) if real is float else libm.sqrt(x)


cdef inline real sine(real x) noexcept nogil:
    return libm.sinf(x) if real is float else libm.sin(x)


cdef inline real cosine(real x) noexcept nogil:
    return libm.cosf(x) if real is float else libm.cos(x)


cdef inline real magnitude(real x) noexcept nogil:
    return -x if x < 0 else x
