#include "server/media.h"

#include <stddef.h>
#include <strings.h>

static struct str trim(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct str){ s.p + 1, s.n - 1 };
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* What precedes the next mark that is not inside a quoted string; *rest loses it and the mark. */
static struct str cut(struct str *rest, char mark)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < rest->n && (quoted || rest->p[i] != mark); i++) {
        if (rest->p[i] == '"') quoted = !quoted;
        if (rest->p[i] == '\\' && quoted) i++;
    }
    if (i > rest->n) i = rest->n;
    struct str s = { rest->p, i };
    size_t used = i < rest->n ? i + 1 : i;
    *rest = (struct str){ rest->p + used, rest->n - used };
    return trim(s);
}

struct str media_type(struct str content_type)
{
    return cut(&content_type, ';');
}

bool media_is(struct str type, const char *want)
{
    struct str w = str_from(want);
    return type.n == w.n && strncasecmp(type.p, w.p, w.n) == 0;
}

/* 0: no match; 1: any type; 2: the same main type; 3: the same */
static int precision(struct str range, struct str type)
{
    if (str_is(range, "*/*") || str_is(range, "*")) return 1;
    if (range.n == type.n && strncasecmp(range.p, type.p, type.n) == 0) return 3;
    bool any_subtype = range.n > 2 && range.p[range.n - 1] == '*' && range.p[range.n - 2] == '/';
    if (any_subtype && type.n > range.n - 1 && strncasecmp(range.p, type.p, range.n - 1) == 0)
        return 2;
    return 0;
}

/* Is a parameter q=0, q=0.0, …? */
static bool forbids(struct str params)
{
    while (params.n) {
        struct str p = cut(&params, ';');
        struct str name = cut(&p, '=');
        if (!media_is(name, "q") || p.n == 0 || p.p[0] != '0') continue;
        size_t i = 1;
        while (i < p.n && (p.p[i] == '.' || p.p[i] == '0'))
            i++;
        return i == p.n;
    }
    return false;
}

bool media_accepts(struct str accept, const char *type)
{
    struct str t = media_type(str_from(type));
    int best = 0;
    bool allowed = false, any = false;
    while (accept.n) {
        struct str params = cut(&accept, ',');
        struct str range = cut(&params, ';');
        if (range.n == 0) continue;
        any = true;
        int p = precision(range, t);
        if (p > best) {
            best = p;
            allowed = !forbids(params);
        }
    }
    return allowed || !any;
}
