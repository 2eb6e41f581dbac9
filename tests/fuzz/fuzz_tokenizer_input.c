/* Texts for a fixed tokenizer, the one of the tests, under several settings of its normaliser. Of an
 * input the first byte says which setting, the second to how many tokens the text is cut (0: not at all),
 * the rest is the text. */
#include "base/fileio.h"
#include "base/mem.h"
#include "tests/fuzz/check_tokens.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const char PATH[] = "tests/data/core/wordpiece/tokenizer.json";
static const char *const SETTINGS[] = {
    "true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":true",
    "true,\"handle_chinese_chars\":true,\"strip_accents\":null,\"lowercase\":false",
    "false,\"handle_chinese_chars\":true,\"strip_accents\":true,\"lowercase\":false",
    "false,\"handle_chinese_chars\":false,\"strip_accents\":false,\"lowercase\":true",
};
enum { N_SETTINGS = sizeof SETTINGS / sizeof *SETTINGS, FILE_BYTES_MAX = 1 << 20 };

static struct tokenizer *load(const char *settings)
{
    static const char field[] = "\"clean_text\":";
    struct err e = ERR_INIT;
    struct tokenizer *t;
    char *text;
    size_t n;
    FUZZ_CHECK(file_read(PATH, FILE_BYTES_MAX, &text, &n, &e) == ERR_OK);
    const char *from = strstr(text, field);
    FUZZ_CHECK(from != NULL);
    from += sizeof field - 1;
    const char *to = strchr(from, '}');
    FUZZ_CHECK(to != NULL);
    size_t before = (size_t)(from - text), after = n - (size_t)(to - text);
    size_t len = strlen(settings);
    char *json = mem_alloc(before + len + after, 1);
    FUZZ_CHECK(json != NULL);
    memcpy(json, text, before);
    memcpy(json + before, settings, len);
    memcpy(json + before + len, to, after);
    enum err_code code = tokenizer_load_json((struct str){ json, before + len + after }, &t, &e);
    FUZZ_CHECK(code == ERR_OK);
    mem_free(json);
    mem_free(text);
    return t;
}

FUZZ_TARGET(tokenizer_input)
{
    static struct tokenizer *tokenizers[N_SETTINGS]; /* loaded once, for the life of the process */
    if (size < 2) return;
    size_t which = data[0] % N_SETTINGS;
    if (!tokenizers[which]) tokenizers[which] = load(SETTINGS[which]);
    check_tokens(tokenizers[which], (struct str){ (const char *)data + 2, size - 2 }, data[1]);
}
