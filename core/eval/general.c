#include "core/eval/general.h"

#include "base/embed.h"

struct str general_text(void)
{
    const struct embedded_file *f = &embedded_general[0];
    return (struct str){ (const char *)f->data, f->size };
}
