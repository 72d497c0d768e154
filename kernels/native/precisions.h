/* Includes the file named by BODY twice, for float and for double.
 *
 * A header of typed kernels names itself as BODY at its end and has a second part, for when `real`
 * is defined, written in the names below. NAME(tanh) is tanh_float and tanh_double.
 */
#define SINGLE 1
#define real float
#define vec v_float
#define vec_u v_float_u
#define ivec v_int32
#define uvec v_uint32
/* As many 32-bit integers as a vector has elements. */
#define word_ivec v_int32
#define word_uvec v_uint32
#define word_uvec_u v_uint32_u
#define LANES FLOATS
#define NAME(name) name##_float
#include BODY
#undef SINGLE
#undef real
#undef vec
#undef vec_u
#undef ivec
#undef uvec
#undef word_ivec
#undef word_uvec
#undef word_uvec_u
#undef LANES
#undef NAME

#define SINGLE 0
#define real double
#define vec v_double
#define vec_u v_double_u
#define ivec v_int64
#define uvec v_uint64
#define word_ivec v_int32_half
#define word_uvec v_uint32_half
#define word_uvec_u v_uint32_half_u
#define LANES DOUBLES
#define NAME(name) name##_double
#include BODY
#undef SINGLE
#undef real
#undef vec
#undef vec_u
#undef ivec
#undef uvec
#undef word_ivec
#undef word_uvec
#undef word_uvec_u
#undef LANES
#undef NAME
#undef BODY
