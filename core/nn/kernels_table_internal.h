/* Layer: core. May include: base.
 *
 * All loops, and the table of them, for the one file of each instruction set.
 */
#pragma once

#include "core/nn/kernels_internal.h"
#include "core/nn/kernels_matmul_internal.h"
#include "core/nn/kernels_rows_internal.h"

#define NN_KERNELS_TABLE(name_)                                                                    \
    {                                                                                              \
        .name = (name_), .dot = loop_dot, .axpy = loop_axpy, .scale = loop_scale, .max = loop_max, \
        .max_into = loop_max_into, .sum_exp = loop_sum_exp, .sum_exp_diff = loop_sum_exp_diff,     \
        .add_exp = loop_add_exp, .exp_scale = loop_exp_scale, .exp_scale2 = loop_exp_scale2,       \
        .adam = loop_adam, .adamw = loop_adamw, .add = loop_add, .activate = loop_activate,        \
        .activate_back = loop_activate_back, .softmax = loop_softmax,                              \
        .softmax_back = loop_softmax_back, .softmax_slope = loop_softmax_slope,                    \
        .layernorm = loop_layernorm, .layernorm_dx = loop_layernorm_dx,                            \
        .layernorm_dw = loop_layernorm_dw, .dropout = loop_dropout,                                \
        .dropout_back = loop_dropout_back, .matmul = loop_matmul                                   \
    }

#if defined(__x86_64__)
extern const struct nn_kernels nn_kernels_avx2; /* needs AVX2 and FMA */
#endif
