/* Layer: bench. May include: base.
 *
 * The first line of every bench's output, so that a figure that was copied
 * somewhere says where it came from.
 */
#pragma once

#include <stdio.h>

/** "# machine=… cores=… kernels=… commit=… compiler=…": the processor's name, the cores this process may use, the
 * best vector kernels, the commit that was built. */
void bench_head_to(FILE *f);
/** On standard output. */
void bench_head(void);
