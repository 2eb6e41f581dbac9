/* The curve is an SVG of fixed size without scripts or fonts of its own. Long runs are thinned to about
 * POINTS_MAX points, each the mean of those it stands for; the smoothed curve is an exponential mean that
 * remembers about a twentieth of the run.
 */
#include "core/learn/train_log.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

void train_log_done(struct train_log *log)
{
    mem_free(log->records);
    *log = (struct train_log){ 0 };
}

enum err_code train_log_add(struct train_log *log, const struct train_record *r, struct err *e)
{
    if (log->n == log->cap) {
        size_t cap = 2 * log->cap + 64;
        struct train_record *grown = mem_realloc(log->records, cap, sizeof *grown);
        if (!grown) return err_set(e, ERR_NOMEM, "no memory for the log");
        log->records = grown;
        log->cap = cap;
    }
    log->records[log->n++] = *r;
    return ERR_OK;
}

/* ---- CSV ---- */

static const char HEAD[] =
    "step,seconds,rate,loss,pair_loss,distill_loss,anchor_loss,pairs_per_s\n";

static void put_number(struct buf *b, double v)
{
    buf_putc(b, ',');
    if (isfinite(v)) buf_printf(b, "%.6g", v);
}

static void put_line(struct buf *b, const struct train_record *r)
{
    buf_printf(b, "%lld,%.3f", (long long)r->step, r->seconds);
    put_number(b, r->rate);
    put_number(b, r->loss);
    put_number(b, r->pair_loss);
    put_number(b, r->distill_loss);
    put_number(b, r->anchor_loss);
    buf_printf(b, ",%.0f\n", r->pairs_per_second);
}

static enum err_code write_buf(struct buf *b, const char *path, struct err *e)
{
    enum err_code code = buf_check(b, e);
    if (code == ERR_OK) code = file_write_atomic(path, b->p, b->n, e);
    buf_done(b);
    return code;
}

enum err_code train_log_write_csv(const struct train_log *log, const char *path, struct err *e)
{
    struct buf b = BUF_INIT(0);
    buf_puts(&b, HEAD);
    for (size_t i = 0; i < log->n; i++)
        put_line(&b, &log->records[i]);
    return write_buf(&b, path, e);
}

/* A line is one write, so a killed process leaves no half of it. */
static enum err_code append(const char *path, const struct buf *b, struct err *e)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_errno(e, ERR_IO, errno, "cannot open %s", path);
    ssize_t put;
    do
        put = write(fd, b->p, b->n);
    while (put < 0 && errno == EINTR);
    int why = put < 0 ? errno : ENOSPC;
    close(fd);
    if (put == (ssize_t)b->n) return ERR_OK;
    return err_errno(e, ERR_IO, why, "cannot write %s", path);
}

enum err_code train_log_append_csv(const struct train_log *log, const char *path, struct err *e)
{
    if (log->n == 0) return ERR_OK;
    struct buf b = BUF_INIT(0);
    put_line(&b, &log->records[log->n - 1]);
    enum err_code code = buf_check(&b, e);
    if (code == ERR_OK) code = append(path, &b, e);
    buf_done(&b);
    return code;
}

/* ---- SVG ---- */

enum {
    WIDTH = 800,
    HEIGHT = 420,
    LEFT = 70,
    RIGHT = 780,
    TOP = 40,
    BOTTOM = 370,
    POINTS_MAX = 600
};
enum { TICKS = 5 }; /* about so many to an axis */

struct axis {
    double low, high, tick; /* values at both ends; distance of the ticks */
};

/* A round number near range / TICKS: 1, 2 or 5 times a power of ten. */
static double round_tick(double range)
{
    double power = pow(10, floor(log10(range / TICKS))), rest = range / TICKS / power;
    return power * (rest < 1.5 ? 1 : rest < 3.5 ? 2 : rest < 7.5 ? 5 : 10);
}

/* Both ends on ticks, or, if `exact`, where the values end. */
static struct axis make_axis(double low, double high, bool exact)
{
    /* Also where they differ by rounding only: ticks that close would never end. */
    if (!(high - low > 1e-6 * fmax(fabs(low), fabs(high)))) high = low + (low != 0 ? fabs(low) : 1);
    struct axis a = { low, high, round_tick(high - low) };
    if (!exact) {
        a.low = floor(low / a.tick) * a.tick;
        a.high = ceil(high / a.tick) * a.tick;
    }
    return a;
}

static double place_x(const struct axis *a, double v)
{
    return LEFT + (RIGHT - LEFT) * (v - a->low) / (a->high - a->low);
}

static double place_y(const struct axis *a, double v)
{
    return BOTTOM - (BOTTOM - TOP) * (v - a->low) / (a->high - a->low);
}

static void put_axes(struct buf *b, const struct axis *x, const struct axis *y)
{
    for (double v = ceil(y->low / y->tick) * y->tick; v <= y->high + y->tick / 1000; v += y->tick) {
        double at = place_y(y, v);
        buf_printf(b, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>\n", LEFT, at, RIGHT);
        buf_printf(b, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", LEFT - 8,
            at + 4, fabs(v) < y->tick / 1000 ? 0 : v);
    }
    for (double v = ceil(x->low / x->tick) * x->tick; v <= x->high; v += x->tick) {
        double at = place_x(x, v);
        buf_printf(b, "<path class=\"axis\" d=\"M%.1f %dv5\"/>\n", at, BOTTOM);
        buf_printf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n", at,
            BOTTOM + 20, v);
    }
    buf_printf(b, "<path class=\"axis\" d=\"M%d %dV%dH%d\"/>\n", LEFT, TOP, BOTTOM, RIGHT);
    buf_printf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
        (LEFT + RIGHT) / 2, HEIGHT - 8);
    buf_printf(b,
        "<text transform=\"translate(16 %d) rotate(-90)\" text-anchor=\"middle\">loss</text>\n",
        (TOP + BOTTOM) / 2);
}

struct point {
    double step, raw, smooth;
};

/* Fills points, at most POINTS_MAX; returns how many. */
static size_t thin(const struct train_log *log, struct point *points)
{
    size_t n = 0, each = log->n / POINTS_MAX + 1;
    double keep = exp(-1 / fmax(1, (double)log->n / 20)), mean = 0, weight = 0;
    for (size_t i = 0; i < log->n;) {
        struct point p = { 0, 0, 0 };
        size_t used = 0;
        for (size_t j = 0; j < each && i < log->n; j++, i++) {
            if (!isfinite(log->records[i].loss)) continue;
            mean = keep * mean + (1 - keep) * log->records[i].loss;
            weight = keep * weight + (1 - keep);
            p.step = (double)log->records[i].step;
            p.raw += log->records[i].loss;
            used++;
        }
        if (used == 0) continue;
        p.raw /= (double)used;
        p.smooth = mean / weight;
        points[n++] = p;
    }
    return n;
}

static void put_curve(struct buf *b, const char *name, const struct point *p, size_t n, bool smooth,
    const struct axis axes[2])
{
    buf_printf(b, "<polyline class=\"%s\" points=\"", name);
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s%.1f,%.1f", i ? " " : "", place_x(&axes[0], p[i].step),
            place_y(&axes[1], smooth ? p[i].smooth : p[i].raw));
    buf_puts(b, "\"/>\n");
}

static void put_legend(struct buf *b)
{
    buf_printf(b,
        "<path class=\"raw\" d=\"M%d 22h30\"/><text x=\"%d\" y=\"26\">as measured</text>\n"
        "<path class=\"smooth\" d=\"M%d 22h30\"/><text x=\"%d\" y=\"26\">smoothed</text>\n",
        RIGHT - 260, RIGHT - 224, RIGHT - 125, RIGHT - 89);
}

static void put_svg(struct buf *b, const struct point *p, size_t n)
{
    double low = INFINITY, high = -INFINITY, last = n ? p[n - 1].step : 0;
    for (size_t i = 0; i < n; i++) {
        low = fmin(low, fmin(p[i].raw, p[i].smooth));
        high = fmax(high, fmax(p[i].raw, p[i].smooth));
    }
    if (n == 0) low = high = 0;
    const struct axis axes[2] = { make_axis(0, last, true), make_axis(low, high, false) };
    buf_printf(b,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "height=\"%d\" role=\"img\">\n<title>Training loss by step</title>\n"
        "<style>text{font:13px sans-serif;fill:#333}.grid{stroke:#ddd}"
        ".axis{stroke:#333;fill:none}.raw{stroke:#9bbbd9;fill:none}"
        ".smooth{stroke:#1f5f99;fill:none;stroke-width:2}</style>\n"
        "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n"
        "<text x=\"%d\" y=\"26\">Training loss</text>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT, LEFT);
    put_axes(b, &axes[0], &axes[1]);
    put_curve(b, "raw", p, n, false, axes);
    put_curve(b, "smooth", p, n, true, axes);
    put_legend(b);
    buf_puts(b, "</svg>\n");
}

enum err_code train_log_write_svg(const struct train_log *log, const char *path, struct err *e)
{
    struct buf b = BUF_INIT(0);
    AUTO_FREE struct point *points = mem_alloc(POINTS_MAX + 1, sizeof *points);
    if (!points) return err_set(e, ERR_NOMEM, "no memory for the curve");
    put_svg(&b, points, thin(log, points));
    return write_buf(&b, path, e);
}
