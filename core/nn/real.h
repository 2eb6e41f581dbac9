/* Layer: core. May include: libc.
 *
 * The number type of the differentiable ops. The program is built with float;
 * the gradient tests build the same sources once more with double
 * (KINDRED_REAL_DOUBLE), where finite differences are exact enough to judge.
 */
#pragma once

#ifdef KINDRED_REAL_DOUBLE
typedef double real_t;
#else
typedef float real_t;
#endif
