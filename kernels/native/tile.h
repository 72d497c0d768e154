/* The register tile: what Cython cannot say.
 *
 * A tile adds to a block of c, `rows` (1 to 4) by `width` (1 to TILE_WIDTH) numbers, the product
 * of `rows` rows of a and a packed panel of b. The block stands in eight vector registers for the
 * whole depth, so each step reads one row of the panel and `rows` numbers of a and writes nothing.
 *
 *   a      element (i, k) at a[i * a_row + k * a_depth], so a may be read transposed
 *   panel  [depth][TILE_WIDTH], contiguous; the caller pads a narrow panel with zeros
 *   c      element (i, j) at c[i * c_row + j]
 *
 * By definition it is
 *
 *   for (i = 0; i < rows; i++) for (j = 0; j < width; j++) {
 *       sum = 0;
 *       for (k = 0; k < depth; k++) sum += a[i * a_row + k * a_depth] * panel[k * TILE_WIDTH + j];
 *       c[i * c_row + j] += sum;
 *   }
 *
 * so every element is summed in the order of k, whatever the tile it falls into, and a long sum
 * that the caller cuts into panels is a sum of short ones, which keeps its rounding small.
 */
#include <stddef.h>

#define TILE_ROWS 4
#define TILE_VECTOR_BYTES 16
#define TILE_WIDTH(real) (2 * TILE_VECTOR_BYTES / sizeof(real))

#define DEFINE_TILE(real, name)                                                                   \
    typedef real name##_vector __attribute__((vector_size(TILE_VECTOR_BYTES), aligned(sizeof(real)), may_alias)); \
                                                                                                  \
    static inline __attribute__((always_inline)) void name##_of(                                  \
        const int rows, const real *a, ptrdiff_t a_row, ptrdiff_t a_depth, const real *panel,     \
        ptrdiff_t depth, real *c, ptrdiff_t c_row, ptrdiff_t width)                               \
    {                                                                                             \
        enum { HALF = TILE_VECTOR_BYTES / sizeof(real), WIDTH = 2 * HALF };                       \
        name##_vector sum[TILE_ROWS][2] = {{{0}}};                                                \
        for (ptrdiff_t k = 0; k < depth; k++) {                                                   \
            const name##_vector left = *(const name##_vector *)(panel + k * WIDTH);               \
            const name##_vector right = *(const name##_vector *)(panel + k * WIDTH + HALF);       \
            for (int i = 0; i < rows; i++) {                                                      \
                const real factor = a[i * a_row + k * a_depth];                                   \
                sum[i][0] += factor * left;                                                       \
                sum[i][1] += factor * right;                                                      \
            }                                                                                     \
        }                                                                                         \
        if (width == WIDTH) {                                                                     \
            for (int i = 0; i < rows; i++) {                                                      \
                *(name##_vector *)(c + i * c_row) += sum[i][0];                                   \
                *(name##_vector *)(c + i * c_row + HALF) += sum[i][1];                            \
            }                                                                                     \
        } else {                                                                                  \
            for (int i = 0; i < rows; i++)                                                        \
                for (ptrdiff_t j = 0; j < width; j++)                                             \
                    c[i * c_row + j] += sum[i][j / HALF][j % HALF];                               \
        }                                                                                         \
    }                                                                                             \
                                                                                                  \
    static void name(ptrdiff_t rows, const real *a, ptrdiff_t a_row, ptrdiff_t a_depth,           \
                     const real *panel, ptrdiff_t depth, real *c, ptrdiff_t c_row,                \
                     ptrdiff_t width)                                                             \
    {                                                                                             \
        switch (rows) {                                                                           \
        case 4: name##_of(4, a, a_row, a_depth, panel, depth, c, c_row, width); break;            \
        case 3: name##_of(3, a, a_row, a_depth, panel, depth, c, c_row, width); break;            \
        case 2: name##_of(2, a, a_row, a_depth, panel, depth, c, c_row, width); break;            \
        case 1: name##_of(1, a, a_row, a_depth, panel, depth, c, c_row, width); break;            \
        }                                                                                         \
    }

DEFINE_TILE(float, tile_float)
DEFINE_TILE(double, tile_double)
