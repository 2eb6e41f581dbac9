/* Layer: server. May include: engine, base.
 *
 * float to text and back, correctly rounded, without printf and without
 * allocation: answers and requests are mostly numbers.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { FLOAT_TEXT_BYTES = 16 }; /* longest: "-1.17549435e-38" */

/**
 * The shortest decimal that reads back as x (at most 9 digits), as JSON: "0", "-0.0625", "1e-7". Not
 * terminated; returns its length. x must be finite.
 * Source: Giulietti 2020, "The Schubfach way to render doubles", for binary32.
 */
size_t float_text_write(char ret[FLOAT_TEXT_BYTES], float x);

/**
 * Parse a JSON number at p, which must be followed by some byte that is part of no number. Rounded to
 * nearest, ties to even; beyond the largest float it is an infinity.
 * Returns the byte after it, NULL if there is no JSON number at p.
 * Source: Clinger 1990, the fast path; the C library for the rest.
 */
const char *float_text_read(const char *p, float *ret);
