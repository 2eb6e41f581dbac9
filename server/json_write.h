/* Layer: server. May include: engine, base.
 *
 * JSON text into a buffer. Commas come by themselves. Failures stick in the
 * buffer (buf_check at the end). Strings must be valid UTF-8.
 *
 *     struct json_write w = JSON_WRITE_INIT(&x->rs.body);
 *     json_write_object(&w);
 *     json_write_key(&w, "id");
 *     json_write_str(&w, id);
 *     json_write_object_end(&w);
 *
 * Threads: one at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_write {
    struct buf *b;
    bool comma; /* a value was written before on this level */
};
#define JSON_WRITE_INIT(buf_) ((struct json_write){ .b = (buf_) })

/** "{", as a value. */
void json_write_object(struct json_write *w);
/** "}" */
void json_write_object_end(struct json_write *w);
/** "[", as a value. */
void json_write_array(struct json_write *w);
/** "]" */
void json_write_array_end(struct json_write *w);
/** key: a constant that needs no escapes. */
void json_write_key(struct json_write *w, const char *key);
/** A name from outside. */
void json_write_key_str(struct json_write *w, struct str key);

/** A string, with escapes. */
void json_write_str(struct json_write *w, struct str s);
/** The same for one that ends with a NUL. */
void json_write_z(struct json_write *w, const char *z);
/** A whole number. */
void json_write_i64(struct json_write *w, int64_t v);
/** A whole number that is not negative. */
void json_write_u64(struct json_write *w, uint64_t v);
/** Shortest text that reads back as the same double; null if it is not finite. */
void json_write_f64(struct json_write *w, double v);
/** Shortest text that reads back as the same float; null if it is not finite. */
void json_write_f32(struct json_write *w, float v);
void json_write_bool(struct json_write *w, bool v);
void json_write_null(struct json_write *w);
/** Text that is JSON already. */
void json_write_raw(struct json_write *w, struct str json);
/** [v0,v1,…] */
void json_write_floats(struct json_write *w, const float *v, size_t n);
/** A string: base64 (with padding) of the n floats, little-endian. */
void json_write_floats_base64(struct json_write *w, const float *v, size_t n);
