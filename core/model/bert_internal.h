/* Layer: core. May include: base. Shared by core/model/bert_*.c. */
#pragma once

#include "core/model/bert.h"

enum { BERT_CONFIG_BYTES_MAX = 1 << 20, BERT_DIMENSIONS_MAX = 65536 };

/** "2_Dense/config.json" */
struct bert_file_name {
    char text[128];
};
struct bert_file_name bert__file(const char *folder, const char *file);

/** Pooling, dense layers and normalisation, from modules.json and the modules' own files; hidden is set. */
MUST_USE enum err_code bert__modules_read(
    const struct model_source *src, struct bert_config *c, struct err *e);
