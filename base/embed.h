/* Layer: base. May include: libc.
 *
 * Files that are compiled into the program (tools/embed.sh). Each table ends
 * with a row whose name is NULL; a NUL byte, not counted in `size`, follows
 * the data. A table lives in the archive of the layer that uses it.
 */
#pragma once

#include <stddef.h>

struct embedded_file {
    const char *name; /* without folder: "0001_init.sql" */
    const unsigned char *data;
    size_t size;
};

/* migrations/sqlite/ in order of their names; in the catalog's archive. */
extern const struct embedded_file embedded_migrations_sqlite[];
/* openapi.yaml, one row, or none where the file is not there; in the server's archive. */
extern const struct embedded_file embedded_openapi[];
/* core/eval/general.tsv, one row; in core's archive. */
extern const struct embedded_file embedded_general[];
