#include "core/model/prompts.h"

#include "base/fileio.h"
#include "base/mem.h"
#include "core/text/json_file.h"

#include <string.h>

enum { FILE_BYTES_MAX = 1 << 20 };

static const char FILE_NAME[] = "config_sentence_transformers.json";
static const struct json_place AT = { FILE_NAME, "" }, PROMPTS_AT = { FILE_NAME, "prompts." };

/* The named prompt into ret, where it is given and ret is still empty. */
static enum err_code read_prompt(const json_t *prompts, const char *name, char *ret, struct err *e)
{
    struct str s = { "", 0 };
    TRY(json_read_str(prompts, name, &PROMPTS_AT, &s, e));
    if (s.n == 0 || ret[0]) return ERR_OK;
    if (s.n >= ENCODER_PROMPT_MAX)
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: prompt %.60s has %zu bytes, at most %d are allowed", FILE_NAME, name, s.n,
            ENCODER_PROMPT_MAX - 1);
    memcpy(ret, s.p, s.n + 1);
    return ERR_OK;
}

/* A name that belongs to one kind says nothing about the other. */
static bool is_of_a_kind(const char *name)
{
    return strcmp(name, "query") == 0 || strcmp(name, "document") == 0 ||
        strcmp(name, "passage") == 0;
}

static enum err_code read_all(const json_t *j, struct model_prompts *ret, struct err *e)
{
    const json_t *prompts = json_object_get(j, "prompts");
    struct str fallback = { "", 0 };
    TRY(json_read_str(j, "default_prompt_name", &AT, &fallback, e));
    if (prompts && !json_is_null(prompts) && !json_is_object(prompts))
        return err_set(e, ERR_CORRUPT, "%s: prompts must be an object", FILE_NAME);
    TRY(read_prompt(prompts, "query", ret->text[ENCODE_QUERY], e));
    TRY(read_prompt(prompts, "document", ret->text[ENCODE_DOCUMENT], e));
    TRY(read_prompt(prompts, "passage", ret->text[ENCODE_DOCUMENT], e));
    if (!fallback.n || is_of_a_kind(fallback.p)) return ERR_OK;
    if (!json_object_get(prompts, fallback.p))
        return err_set(e, ERR_UNPROCESSABLE,
            "%s: default_prompt_name \"%.60s\" is not among the prompts", FILE_NAME, fallback.p);
    TRY(read_prompt(prompts, fallback.p, ret->text[ENCODE_QUERY], e));
    return read_prompt(prompts, fallback.p, ret->text[ENCODE_DOCUMENT], e);
}

enum err_code prompts_read(const char *dir, struct model_prompts *ret, struct err *e)
{
    AUTO_FREE char *path = path_join(dir, FILE_NAME);
    AUTO_JSON json_t *j = NULL;
    struct model_prompts p = { { "", "" } };
    if (!path) return err_set(e, ERR_NOMEM, "no memory to load the model");
    if (file_exists(path)) {
        TRY(json_file_read(path, FILE_BYTES_MAX, &j, e));
        TRY(read_all(j, &p, e));
    }
    *ret = p;
    return ERR_OK;
}
