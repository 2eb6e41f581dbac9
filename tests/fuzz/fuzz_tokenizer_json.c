/* The bytes of a tokenizer.json. Whatever loads must encode texts as any tokenizer does. */
#include "tests/fuzz/check_tokens.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static const char *const TEXTS[] = { "", "The cats sat, un\u00E0ble [CLS][UNK] dog.",
    "a\xCC\x81\xCC\xA7 \xE6\xBC\xA2\xE5\xAD\x97 x\x01y\t\xC2\xA0 [MASK]  ",
    "internationalisationinternationalisation [PAD] 1984" };

FUZZ_TARGET(tokenizer_json)
{
    struct tokenizer *t;
    struct err e = ERR_INIT;
    enum err_code code = tokenizer_load_json((struct str){ (const char *)data, size }, &t, &e);
    if (code != ERR_OK) {
        FUZZ_CHECK(code == ERR_CORRUPT || code == ERR_UNPROCESSABLE);
        FUZZ_CHECK(e.code == code && e.msg[0]);
        return;
    }
    size_t n = tokenizer_vocab_size(t);
    FUZZ_CHECK(n > 0 && tokenizer_piece(t, (uint32_t)n).n == 0);
    for (uint32_t id = 0; id < n; id++) {
        uint32_t found = id;
        struct str piece = tokenizer_piece(t, id);
        FUZZ_CHECK(piece.n == 0 || (tokenizer_id(t, piece, &found) && found == id));
    }
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        check_tokens(t, str_from(TEXTS[i]), 1 + 3 * i);
    tokenizer_free(t);
}
