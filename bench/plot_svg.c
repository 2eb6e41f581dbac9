#include "bench/plot_svg.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum {
    COLUMNS = 2,
    WIDTH = 470, /* of a panel, with what stands around it */
    HEIGHT = 330,
    LEFT = 62,
    RIGHT = 14,
    TOP = 34,
    BOTTOM = 46,
    MARGIN = 12,
    LEGEND_COLUMNS = 4,
    LEGEND_ROW = 20,
};

static const double RECALL_MIN = 0.8, RECALL_MAX = 0.999;

/* Colours that the colour-blind tell apart (Okabe and Ito 2008); names past them come again with dashes. */
static const char *const colours[] = { "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00",
    "#cc79a7", "#7f7f7f", "#000000" };
enum { COLOURS = sizeof colours / sizeof colours[0] };

/* ---- names ---- */
struct legend {
    const char *names[PLOT_LINES_MAX];
    size_t n;
};

/* Where a name stands, from its first panel on; PLOT_LINES_MAX: no room. */
static size_t place_of(struct legend *l, const char *name)
{
    size_t i = 0;
    while (i < l->n && strcmp(l->names[i], name) != 0)
        i++;
    if (i == l->n && i < PLOT_LINES_MAX) l->names[l->n++] = name;
    return i;
}

static void put_stroke(FILE *f, size_t place)
{
    fprintf(f, "stroke=\"%s\" stroke-width=\"2\" fill=\"none\"%s", colours[place % COLOURS],
        place >= COLOURS ? " stroke-dasharray=\"5 3\"" : "");
}

static void put_legend(FILE *f, const struct legend *l, double y)
{
    for (size_t i = 0; i < l->n; i++) {
        double x = MARGIN + LEFT +
            (double)(i % LEGEND_COLUMNS) * (COLUMNS * WIDTH - LEFT) / LEGEND_COLUMNS;
        double at = y + (double)(i / LEGEND_COLUMNS) * LEGEND_ROW;
        fprintf(f, "<path d=\"M%.1f %.1fh24\" ", x, at - 4);
        put_stroke(f, i);
        fprintf(f, "/>\n<text x=\"%.1f\" y=\"%.1f\">%s</text>\n", x + 30, at, l->names[i]);
    }
}

/* ---- scales ---- */
struct scale {
    double x, y, w, h; /* of the plot */
    double low, high;  /* log10 of the rates at its foot and at its head */
};

static double nines(double recall)
{
    return -log10(1 - (recall < 0.99999 ? recall : 0.99999));
}

static double x_of(const struct scale *s, double recall)
{
    return s->x +
        s->w * (nines(recall) - nines(RECALL_MIN)) / (nines(RECALL_MAX) - nines(RECALL_MIN));
}

static double y_of(const struct scale *s, double qps)
{
    return s->y + s->h * (s->high - log10(qps)) / (s->high - s->low);
}

/* The rates of what is seen, and a little more. */
static void find_rates(struct scale *s, const struct plot_panel *p)
{
    s->low = 1e9, s->high = -1e9;
    for (size_t i = 0; i < p->n; i++) {
        const struct curve *c = p->lines[i].curve;
        for (size_t j = 0; j < c->n; j++) {
            if (c->at[j].recall < RECALL_MIN || c->at[j].qps <= 0) continue;
            s->low = fmin(s->low, log10(c->at[j].qps));
            s->high = fmax(s->high, log10(c->at[j].qps));
        }
    }
    if (s->low > s->high) s->low = 2, s->high = 4;
    s->low -= 0.08, s->high += 0.08;
}

/* ---- panels ---- */
static void put_tick_text(FILE *f, double x, double y, const char *anchor, double value)
{
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    if (value >= 1000)
        fprintf(f, "%gk", value / 1000);
    else
        fprintf(f, "%g", value);
    fprintf(f, "</text>\n");
}

static void put_axes(FILE *f, const struct scale *s, const char *title)
{
    static const double recalls[] = { 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999 };
    static const double steps[] = { 1, 2, 5 };
    for (size_t i = 0; i < sizeof recalls / sizeof recalls[0]; i++) {
        double x = x_of(s, recalls[i]);
        fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1fv%.1f\"/>\n", x, s->y, s->h);
        put_tick_text(f, x, s->y + s->h + 16, "middle", recalls[i]);
    }
    for (int power = 0; power < 8; power++)
        for (size_t i = 0; i < 3; i++) {
            double value = steps[i] * pow(10, power), y = y_of(s, value);
            if (y < s->y || y > s->y + s->h) continue;
            fprintf(f, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", s->x, y, s->w);
            put_tick_text(f, s->x - 6, y + 4, "end", value);
        }
    fprintf(f, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
        s->x, s->y, s->w, s->h);
    fprintf(f, "<text class=\"title\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", s->x, s->y - 10, title);
    fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">recall@10</text>\n",
        s->x + s->w / 2, s->y + s->h + 34);
    fprintf(f,
        "<text transform=\"translate(%.1f %.1f) rotate(-90)\" text-anchor=\"middle\">queries a "
        "second</text>\n",
        s->x - 46, s->y + s->h / 2);
}

static void put_line(FILE *f, const struct scale *s, const struct curve *c, size_t place)
{
    if (c->n == 0) return;
    fprintf(f, "<path d=\"");
    for (size_t j = 0; j < c->n; j++)
        fprintf(f, "%c%.1f %.1f", j ? 'L' : 'M', x_of(s, c->at[j].recall), y_of(s, c->at[j].qps));
    fprintf(f, "\" ");
    put_stroke(f, place);
    fprintf(f, "/>\n");
    for (size_t j = 0; j < c->n; j++)
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>\n",
            x_of(s, c->at[j].recall), y_of(s, c->at[j].qps), colours[place % COLOURS]);
}

static void put_panel(FILE *f, const struct plot_panel *p, size_t at, struct legend *legend)
{
    struct scale s = { .x = MARGIN + (double)(at % COLUMNS * WIDTH) + LEFT,
        .y = MARGIN + (double)(at / COLUMNS * HEIGHT) + TOP,
        .w = WIDTH - LEFT - RIGHT,
        .h = HEIGHT - TOP - BOTTOM };
    find_rates(&s, p);
    put_axes(f, &s, p->title);
    fprintf(f,
        "<clipPath id=\"panel%zu\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
        "height=\"%.1f\"/></clipPath>\n<g clip-path=\"url(#panel%zu)\">\n",
        at, s.x, s.y, s.w, s.h, at);
    for (size_t i = p->n; i-- > 0;) { /* the first one on top */
        size_t place = place_of(legend, p->lines[i].name);
        if (place < PLOT_LINES_MAX) put_line(f, &s, p->lines[i].curve, place);
    }
    fprintf(f, "</g>\n");
}

void plot_svg(FILE *f, const struct plot_panel *panels, size_t n)
{
    struct legend legend = { .n = 0 };
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < panels[p].n; i++)
            (void)place_of(&legend, panels[p].lines[i].name);
    size_t rows = (n + COLUMNS - 1) / COLUMNS;
    size_t legend_rows = (legend.n + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS;
    size_t width = COLUMNS * WIDTH + 2 * MARGIN;
    size_t height = rows * HEIGHT + (legend_rows + 1) * LEGEND_ROW + 2 * MARGIN;
    fprintf(f,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %zu %zu\" "
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
        "<style>.grid{stroke:#ddd}.frame{stroke:#888;fill:none}"
        ".title{font-size:14px;font-weight:bold}</style>\n"
        "<rect width=\"%zu\" height=\"%zu\" fill=\"#fff\"/>\n",
        width, height, width, height);
    for (size_t p = 0; p < n; p++)
        put_panel(f, &panels[p], p, &legend);
    put_legend(f, &legend, (double)(MARGIN + rows * HEIGHT + LEGEND_ROW));
    fprintf(f, "</svg>\n");
}
