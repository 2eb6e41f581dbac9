#include "core/model/modules.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"

#include <stdio.h>
#include <string.h>

enum { MODULES_BYTES_MAX = 1 << 20 };

bool module_path_is_inside(const char *path)
{
    for (const char *p = path;; p++) {
        const char *end = strchrnul(p, '/');
        size_t n = (size_t)(end - p);
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        if (*end == '\0') return true;
        p = end;
    }
}

const char *module_class(const struct model_module *m)
{
    const char *dot = strrchr(m->type, '.');
    return dot ? dot + 1 : "";
}

static enum err_code read_module(const json_t *j, size_t i, struct model_module *ret, struct err *e)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    const char *path = json_string_value(json_object_get(j, "path"));
    if (!path) path = "";
    snprintf(ret->type, sizeof ret->type, "%s", type ? type : "");
    if (strlen(path) >= sizeof ret->path || (path[0] && !module_path_is_inside(path)))
        return err_set(e, ERR_UNPROCESSABLE,
            "modules.json: module %zu's path \"%.80s\" is not a folder inside the model's", i,
            path);
    memcpy(ret->path, path, strlen(path) + 1);
    return ERR_OK;
}

enum err_code modules_read(const char *dir, struct model_modules *ret, struct err *e)
{
    struct model_modules m = { .given = false };
    AUTO_FREE char *path = path_join(dir, "modules.json");
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    if (!file_exists(path)) {
        *ret = m;
        return ERR_OK;
    }
    AUTO_JSON json_t *list = NULL;
    TRY(json_file_read_any(path, MODULES_BYTES_MAX, &list, e));
    if (!json_is_array(list)) return err_set(e, ERR_CORRUPT, "modules.json must be an array");
    m.given = true;
    m.n = json_array_size(list);
    if (m.n > MODULES_MAX)
        return err_set(e, ERR_UNPROCESSABLE, "modules.json: %zu modules, at most %d are allowed",
            m.n, MODULES_MAX);
    for (size_t i = 0; i < m.n; i++)
        TRY(read_module(json_array_get(list, i), i, &m.list[i], e));
    *ret = m;
    return ERR_OK;
}
