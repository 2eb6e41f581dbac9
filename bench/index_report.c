#include "bench/index_report.h"

#include "base/mem.h"
#include "bench/plot_svg.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 512, PANELS_MAX = 32 };

struct report {
    struct report_line lines[ROWS_MAX];
    struct report_build builds[ROWS_MAX];
    size_t n_lines, n_builds;
};

static void *must(void *p)
{
    if (p) return p;
    fprintf(stderr, "report: no memory\n");
    exit(1);
}

struct report *report_new(void)
{
    return must(mem_zalloc(1, sizeof(struct report)));
}

void report_free(struct report *r)
{
    mem_free(r);
}

void report_add_line(struct report *r, const struct report_line *line)
{
    if (r->n_lines < ROWS_MAX) r->lines[r->n_lines++] = *line;
}

void report_add_build(struct report *r, const struct report_build *build)
{
    if (r->n_builds < ROWS_MAX) r->builds[r->n_builds++] = *build;
}

/* "hnswlib" or "hnswlib:efc=100". */
static bool is_hnswlib(const char *library)
{
    return strncmp(library, "hnswlib", 7) == 0 && (library[7] == 0 || library[7] == ':');
}

/* ---- tables ---- */
static void put_number(FILE *f, double value, bool bound)
{
    if (value > 0)
        fprintf(f, " %s%.0f |", bound ? "≥ " : "", value);
    else
        fprintf(f, " – |");
}

static void put_ratio(FILE *f, double value, double peer, bool bound)
{
    if (value > 0 && peer > 0)
        fprintf(f, " %s%.2f |", bound ? "≥ " : "", value / peer);
    else
        fprintf(f, " – |");
}

static const struct report_line *peer_of(const struct report *r, const struct report_line *line)
{
    for (size_t i = 0; i < r->n_lines; i++)
        if (is_hnswlib(r->lines[i].library) && strcmp(r->lines[i].set, line->set) == 0 &&
            r->lines[i].threads == line->threads)
            return &r->lines[i];
    return NULL;
}

/* The first point is beyond that recall: what curve_at says is too little. */
static bool is_bound(const struct curve *c, double recall)
{
    return c->n > 0 && c->at[0].recall > recall;
}

static void put_lines(const struct report *r, FILE *f)
{
    static const double recalls[] = { 0.95, 0.98 };
    fprintf(f,
        "Queries a second at equal recall@10; ÷: of hnswlib's. – : not reached, or nothing to "
        "divide by. ≥: the smallest ef is beyond that recall.\n\n"
        "| set | threads | library | QPS at 0.95 | ÷ | QPS at 0.98 | ÷ | bytes a vector | ÷ |\n"
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (size_t i = 0; i < r->n_lines; i++) {
        const struct report_line *line = &r->lines[i], *peer = peer_of(r, line);
        fprintf(f, "| %s | %zu | %s |", line->set, line->threads, line->library);
        for (size_t g = 0; g < sizeof recalls / sizeof recalls[0]; g++) {
            double qps = curve_at(&line->curve, recalls[g]);
            bool has_peer = peer && !is_bound(&peer->curve, recalls[g]);
            put_number(f, qps, is_bound(&line->curve, recalls[g]));
            put_ratio(f, qps, has_peer ? curve_at(&peer->curve, recalls[g]) : -1,
                is_bound(&line->curve, recalls[g]));
        }
        put_number(f, line->bytes_per_vector, false);
        put_ratio(f, line->bytes_per_vector, peer ? peer->bytes_per_vector : -1, false);
        fprintf(f, "\n");
    }
}

static bool is_same(const struct report_build *a, const struct report_build *b)
{
    return strcmp(a->set, b->set) == 0 && strcmp(a->library, b->library) == 0;
}

/* The one of the same set and library with the next larger ef_construction; NULL: there is none. */
static const struct report_build *next_build(
    const struct report *r, const struct report_build *of, size_t ef_construction)
{
    const struct report_build *next = NULL;
    for (size_t i = 0; i < r->n_builds; i++) {
        const struct report_build *b = &r->builds[i];
        if (is_same(b, of) && b->ef_construction > ef_construction &&
            (!next || b->ef_construction < next->ef_construction))
            next = b;
    }
    return next;
}

static const struct report_build *peer_build(
    const struct report *r, const char *set, size_t ef_construction)
{
    for (size_t i = 0; i < r->n_builds; i++)
        if (is_hnswlib(r->builds[i].library) && strcmp(r->builds[i].set, set) == 0 &&
            r->builds[i].ef_construction == ef_construction)
            return &r->builds[i];
    return NULL;
}

/* The rows of one library on a set, by rising efc; on the last one what all of them give. */
static void put_builds_of(
    const struct report *r, FILE *f, const struct report_build *of, const struct report_build *peer)
{
    struct curve c = { .n = 0 };
    for (const struct report_build *b = next_build(r, of, 0), *next; b; b = next) {
        curve_add(&c, b->recall, b->per_s);
        fprintf(f, "| %s | %zu | %s | %zu | %.0f | %.4f |", b->set, b->threads, b->library,
            b->ef_construction, b->per_s, b->recall);
        next = next_build(r, of, b->ef_construction);
        if (next) {
            fprintf(f, " | |\n");
            continue;
        }
        double rate = peer ? curve_at(&c, peer->recall) : -1;
        bool bound = peer && is_bound(&c, peer->recall);
        put_number(f, rate, bound);
        put_ratio(f, rate, peer ? peer->per_s : -1, bound);
        fprintf(f, "\n");
    }
}

static void put_builds(const struct report *r, FILE *f, size_t peer_efc, size_t graph_ef)
{
    fprintf(f,
        "\nVectors a second into the graph, and recall@10 that it gives at ef %zu. At equal "
        "recall: at that of hnswlib's graph of efc %zu; ÷: of hnswlib's rate there. ≥: the "
        "smallest efc is beyond that recall.\n\n"
        "| set | threads | library | efc | vectors a second | recall@10 | at equal recall | ÷ |\n"
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
        graph_ef, peer_efc);
    for (size_t i = 0; i < r->n_builds; i++) {
        size_t first = 0;
        while (!is_same(&r->builds[first], &r->builds[i]))
            first++;
        if (first == i)
            put_builds_of(r, f, &r->builds[i], peer_build(r, r->builds[i].set, peer_efc));
    }
}

void report_markdown(const struct report *r, FILE *f, size_t peer_efc, size_t graph_ef)
{
    if (r->n_lines > 0) put_lines(r, f);
    if (r->n_builds > 0) put_builds(r, f, peer_efc, graph_ef);
}

/* ---- picture ---- */
static struct plot_panel *panel_of(
    struct plot_panel *panels, size_t *n, const struct report_line *line)
{
    char title[sizeof panels->title];
    snprintf(title, sizeof title, "%s, %zu thread%s", line->set, line->threads,
        line->threads > 1 ? "s" : "");
    for (size_t i = 0; i < *n; i++)
        if (strcmp(panels[i].title, title) == 0) return &panels[i];
    if (*n == PANELS_MAX) return NULL;
    memcpy(panels[*n].title, title, sizeof title);
    return &panels[(*n)++];
}

void report_svg(const struct report *r, FILE *f)
{
    struct plot_panel *panels = must(mem_zalloc(PANELS_MAX, sizeof *panels));
    size_t n = 0;
    for (size_t i = 0; i < r->n_lines; i++) {
        struct plot_panel *p = panel_of(panels, &n, &r->lines[i]);
        if (!p || p->n == PLOT_LINES_MAX) continue;
        p->lines[p->n].name = r->lines[i].library;
        p->lines[p->n++].curve = &r->lines[i].curve;
    }
    plot_svg(f, panels, n);
    mem_free(panels);
}
