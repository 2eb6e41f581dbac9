/* Layer: core. May include: libc.
 *
 * exp, erf and tanh as plain arithmetic that the compiler can turn into vectors; in double, for the gradient tests,
 * libm's. Errors stand at each.
 */
#pragma once

#include "core/nn/real.h"

#include <math.h>
#include <stdint.h>
#include <string.h>
