/* The steps, in BERT's order: clean, surround ideographs by spaces, decompose
 * and drop marks, lower-case. Classes are those of the character that comes out.
 *
 * "Control" means the categories Cc, Cf and Co; code points without a character
 * (Cn) stay, as they do in the `tokenizers` library, whose tables are of an older
 * Unicode: characters newer than they are count as unassigned there, and as
 * what they are here.
 */
#include "core/text/bert_normalize.h"

#include <utf8proc.h>

static bool is_control(uint32_t cp)
{
    if (cp == '\t' || cp == '\n' || cp == '\r') return false;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_CC || c == UTF8PROC_CATEGORY_CF || c == UTF8PROC_CATEGORY_CO;
}

bool bert_is_space(uint32_t cp)
{
    if (cp < 0x80) return cp == ' ' || (cp >= '\t' && cp <= '\r');
    if (cp == 0x85) return true;
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ZS || c == UTF8PROC_CATEGORY_ZL || c == UTF8PROC_CATEGORY_ZP;
}

bool bert_is_punctuation(uint32_t cp)
{
    if (cp < 0x80)
        return (cp >= '!' && cp <= '/') || (cp >= ':' && cp <= '@') || (cp >= '[' && cp <= '`') ||
            (cp >= '{' && cp <= '~');
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c >= UTF8PROC_CATEGORY_PC && c <= UTF8PROC_CATEGORY_PO;
}

uint8_t bert_combining_class(uint32_t cp)
{
    return (uint8_t)utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

/* The blocks that BERT lists; Hangul, Hiragana and Katakana are not among them. */
static bool is_ideograph(uint32_t cp)
{
    return (cp >= 0x4E00 && cp <= 0x9FFF) || (cp >= 0x3400 && cp <= 0x4DBF) ||
        (cp >= 0x20000 && cp <= 0x2A6DF) || (cp >= 0x2A700 && cp <= 0x2B73F) ||
        (cp >= 0x2B740 && cp <= 0x2B81F) || (cp >= 0x2B920 && cp <= 0x2CEAF) ||
        (cp >= 0xF900 && cp <= 0xFAFF) || (cp >= 0x2F800 && cp <= 0x2FA1F);
}

static enum bert_class class_of(uint32_t cp)
{
    if (bert_is_space(cp)) return BERT_SPACE;
    return bert_is_punctuation(cp) ? BERT_PUNCTUATION : BERT_LETTER;
}

static void put(
    const struct bert_options *o, uint32_t cp, uint8_t combining_class, struct bert_expansion *x)
{
    uint32_t low = cp;
    if (o->lowercase) low = (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
    x->out[x->n++] = (struct bert_char){ low, combining_class, class_of(low) };
    /* The only character whose lower case is two: capital I with a dot above. */
    if (o->lowercase && cp == 0x130)
        x->out[x->n++] = (struct bert_char){ 0x307, combining_class, BERT_LETTER };
}

static void put_decomposed(const struct bert_options *o, uint32_t cp, struct bert_expansion *x)
{
    utf8proc_int32_t parts[BERT_EXPANSION_MAX / 2];
    int boundary = 0; /* used for grapheme breaks only, which are not asked for */
    utf8proc_ssize_t n = utf8proc_decompose_char(
        (utf8proc_int32_t)cp, parts, BERT_EXPANSION_MAX / 2, UTF8PROC_DECOMPOSE, &boundary);
    if (n < 1 || n > BERT_EXPANSION_MAX / 2) { /* no canonical decomposition is that long */
        parts[0] = (utf8proc_int32_t)cp;
        n = 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        const utf8proc_property_t *p = utf8proc_get_property(parts[i]);
        if (p->category != UTF8PROC_CATEGORY_MN)
            put(o, (uint32_t)parts[i], (uint8_t)p->combining_class, x);
        else if (p->combining_class == 0)
            x->new_run = true;
    }
}

void bert_expand(const struct bert_options *o, uint32_t cp, struct bert_expansion *ret)
{
    ret->n = 0;
    ret->alone = false;
    ret->new_run = false;
    if (o->clean_text) {
        if (cp == 0 || cp == 0xFFFD || is_control(cp)) return;
        if (bert_is_space(cp)) cp = ' ';
    }
    ret->alone = o->handle_chinese_chars && is_ideograph(cp);
    if (o->strip_accents)
        put_decomposed(o, cp, ret);
    else
        put(o, cp, 0, ret);
}
