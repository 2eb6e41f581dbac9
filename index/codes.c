/* Vectors to rows and back, and what is far from what.
 *
 * A stored vector x (for cosine: of length 1) is turned by a rotation that the seed fixes, moved by the centre, and
 * kept as a fixed-point number. Its high bytes are the *code*: what a walk or a scan reads. The rotation
 * spreads every vector evenly over its values, so that one scale a vector wastes no bits on a few large values; the
 * centre takes away what all vectors have in common, which tells nothing apart but would cost bits.
 *
 * Estimates. With x̂ what the code stands for and e = x - x̂,
 *
 *     |q - x|^2 = |q - x̂|^2 - |e|^2 - 2 (q - x)·e
 *
 * and the last term, the error, is about 2 |q - x| scale / sqrt(12): it falls with the distance. An estimate
 * of the product q·x would have the error q·e, however near x is. So cosine and L2 walk by |q - x̂|^2 - |e|^2; a row
 * keeps |x̂|^2 - |e|^2 beside its scale. For the same reason a cosine is scored as 1 - |q - x|^2 / 2, both being of
 * length 1. INDEX_DOT has no choice, and no centre.
 *
 * Bounds. |e| <= scale sqrt(dim) / 2 always, so |q - x| <= r means |q - x̂| <= r + |e|: codes__estimate_bound is that with
 * the query's own rounding on top. Scans that drop what is beyond it are exact.
 *
 * The rotation: rounds of random signs and a Walsh–Hadamard transform over the first, then the last
 * power of two of values, so that all are mixed whatever the dimension; about 4 log2(dim) operations a value.
 *
 * Below DIM_BY_VALUE dimensions codes tell too little and save nothing: the lower plane is the vector itself, in
 * float, and all estimates are exact.
 *
 * Source: Ailon & Chazelle 2009, "The fast Johnson–Lindenstrauss transform", for signs and Hadamard as a rotation.
 */
#include "index/index_internal.h"

#include <float.h>
#include <math.h>

#include "base/mem.h"

enum {
    ROUNDS = ROTATION_ROUNDS,
    CENTRE_FIRST = 1,   /* the centre is taken at the first link, */
                        /* again at CENTRE_LAST vectors, */
    CENTRE_GROWTH = 16, /* and between whenever there are so many times more */
    NEAR_UNITS = 400,   /* squared: below so many scales of a code an estimate says little */
    FETCH_AHEAD = 4,
};
static const float SLACK = 4e-6f; /* of the squared lengths: rounding of a float sum */
static const float COSINE_ULPS =
    1e-6f; /* a cosine is rounded, and so is its way back to |q - x|^2 */
static const float UNDERFLOW =
    2e-35f; /* more than estimates lose by values too small for a float */

/* ---- rotation ---- */
static size_t window(size_t dim)
{
    size_t n = 1;
    while (2 * n <= dim)
        n *= 2;
    return n;
}

static void rotate(const struct index *ix, float *x)
{
    size_t dim = ix->o.dim, n = window(dim);
    for (size_t r = 0; r < ROUNDS; r++) {
        const float *signs = ix->signs + r * dim;
        for (size_t d = 0; d < dim; d++)
            x[d] *= signs[d];
        ix->codes->hadamard(r % 2 ? x + dim - n : x, n);
    }
}

static void rotate_back(const struct index *ix, float *x)
{
    size_t dim = ix->o.dim, n = window(dim);
    for (size_t r = ROUNDS; r-- > 0;) {
        const float *signs = ix->signs + r * dim;
        ix->codes->hadamard(r % 2 ? x + dim - n : x, n);
        for (size_t d = 0; d < dim; d++)
            x[d] *= signs[d];
    }
}

/* ---- rows ---- */
enum err_code codes__check(
    const struct index *ix, const float *vector, double *ret_scale, struct err *e)
{
    /* Four sums, since one would wait for itself; double never overflows on floats. */
    double sums[4] = { 0 };
    size_t d = 0;
    for (; d + 4 <= ix->o.dim; d += 4)
        for (size_t j = 0; j < 4; j++)
            sums[j] += (double)vector[d + j] * (double)vector[d + j];
    for (; d < ix->o.dim; d++)
        sums[0] += (double)vector[d] * (double)vector[d];
    double sum = sums[0] + sums[1] + sums[2] + sums[3];

    if (!isfinite(sum)) {
        for (d = 0; d + 1 < ix->o.dim && isfinite(vector[d]); d++) {}
        return err_set(e, ERR_INVALID, "value %zu of the vector is not a finite number", d);
    }
    if (ix->o.metric == INDEX_COSINE) {
        if (sum <= 0.0) return err_set(e, ERR_INVALID, "a vector of zeros has no direction");
        *ret_scale = 1.0 / sqrt(sum);
        return ERR_OK;
    }
    /* (|a| + |b|)^2 and |a||b| then stay within a float, and so does every partial sum. */
    if (sum > (double)FLT_MAX / 8)
        return err_set(e, ERR_INVALID, "the vector is too long for single precision");
    *ret_scale = 1.0;
    return ERR_OK;
}

/** x [dim], rotated and centred, into a row. */
static void encode(const struct index *ix, const float *x, char *row, void *low)
{
    struct row_head *head = (struct row_head *)(void *)row;
    uint8_t *code = (uint8_t *)row + sizeof *head;
    size_t dim = ix->o.dim;
    float unit =
        ix->o.bits == 24 ? code_encode24(x, dim, code, low) : code_encode12(x, dim, code, low);
    float scale = unit * ix->value_unit;
    float seen[4] = { 0 }, lost[4] = { 0 };
    for (size_t d = 0; d < dim; d++) {
        float v = scale * (float)((int)code[d] - 128), rest = x[d] - v;
        seen[d % 4] += v * v;
        lost[d % 4] += rest * rest;
    }
    head->scale = scale;
    head->norm = (seen[0] + seen[1] + seen[2] + seen[3]) - (lost[0] + lost[1] + lost[2] + lost[3]);
    for (size_t at = sizeof *head + dim; at < ix->row_bytes; at++)
        row[at] = 0;
}

/** The vector [dim] as it is in the lower plane. */
static const float *plain_row(const struct index *ix, uint32_t node)
{
    return index__low(ix, node);
}

/** ret [dim]: rotated and centred. */
static void decode(const struct index *ix, uint32_t node, float *ret)
{
    if (ix->by_value) {
        memcpy(ret, plain_row(ix, node), ix->o.dim * sizeof *ret);
        return;
    }
    const char *row = index__row(ix, node);
    float unit = row__head(row)->scale / ix->value_unit;
    if (ix->o.bits == 24)
        ix->codes->decode24(ret, unit, row__code(row), index__low(ix, node), ix->o.dim);
    else
        ix->codes->decode12(ret, unit, row__code(row), index__low(ix, node), ix->o.dim);
}

static void turn(const struct index *ix, const float *vector, double scale, float *ret)
{
    if (ix->o.metric == INDEX_COSINE)
        for (size_t d = 0; d < ix->o.dim; d++)
            ret[d] = (float)(vector[d] * scale);
    else
        memcpy(ret, vector, ix->o.dim * sizeof *ret);
    if (!ix->by_value) rotate(ix, ret);
}

void codes__write(
    const struct index *ix, const float *vector, double scale, char *row, void *low, float *work)
{
    turn(ix, vector, scale, work);
    if (ix->by_value) {
        memset(row, 0, ix->row_bytes);
        memset(low, 0, ix->low_bytes);
        memcpy(low, work, ix->o.dim * sizeof *work);
        return;
    }
    for (size_t d = 0; d < ix->o.dim; d++)
        work[d] -= ix->centre.rotated[d];
    encode(ix, work, row, low);
}

void codes__read(const struct index *ix, uint32_t node, float *ret_vector)
{
    decode(ix, node, ret_vector);
    if (ix->by_value) return;
    for (size_t d = 0; d < ix->o.dim; d++)
        ret_vector[d] += ix->centre.rotated[d];
    rotate_back(ix, ret_vector);
}

/* ---- the centre ---- */
bool codes__wants_centre(const struct index *ix)
{
    size_t n = atomic_load_explicit(&ix->live, memory_order_relaxed);
    size_t from = atomic_load_explicit(&ix->centre.n_from, memory_order_relaxed);
    if (ix->by_value || ix->o.metric == INDEX_DOT || from >= CENTRE_LAST || n < CENTRE_FIRST)
        return false;
    return from == 0 || n >= CENTRE_LAST || n >= from * CENTRE_GROWTH;
}

/** For cosine: x, seen from centre - shift, is of length 1 again, which the fixed point keeps only nearly: estimates
 * rely on it. */
static void normalise(const struct index *ix, float *x, const float *centre, const float *shift)
{
    double sum = 0;
    if (ix->o.metric != INDEX_COSINE) return;
    for (size_t d = 0; d < ix->o.dim; d++) {
        float whole = x[d] + (centre[d] - shift[d]);
        sum += (double)whole * (double)whole;
    }
    double scale = sum > 0 ? 1 / sqrt(sum) : 1;
    for (size_t d = 0; d < ix->o.dim; d++) {
        float origin = centre[d] - shift[d];
        x[d] = (float)((double)(x[d] + origin) * scale) - origin;
    }
}

void codes__recentre(struct index *ix)
{
    double mean[INDEX_DIM_MAX] = { 0 };
    float x[INDEX_DIM_MAX], shift[INDEX_DIM_MAX];
    size_t dim = ix->o.dim, n = 0;
    uint32_t end = atomic_load(&ix->n_nodes);
    for (uint32_t node = 0; node < end; node++) {
        if (!index__block(ix, node) || !index__is_live(ix, node)) continue;
        decode(ix, node, x);
        for (size_t d = 0; d < dim; d++)
            mean[d] += (double)x[d];
        n++;
    }
    if (n == 0) return;
    for (size_t d = 0; d < dim; d++) {
        shift[d] = (float)(mean[d] / (double)n);
        ix->centre.rotated[d] += shift[d];
    }
    atomic_store(&ix->centre.n_from, n);
    for (uint32_t node = 0; node < end; node++) {
        if (!index__block(ix, node) || !(index__state(ix, node) & NODE_USED)) continue;
        decode(ix, node, x);
        normalise(ix, x, ix->centre.rotated, shift);
        for (size_t d = 0; d < dim; d++)
            x[d] -= shift[d];
        encode(ix, x, index__row(ix, node), index__low(ix, node));
    }
}

/* ---- queries ---- */
size_t codes__prepared_bytes(const struct index *ix)
{
    size_t padded = (ix->o.dim + 63) / 64 * 64;
    return padded * (sizeof(float) + 2 * sizeof(int8_t) + sizeof(int16_t));
}

void codes__prepare_room(const struct index *ix, struct prepared *p, void *buffer)
{
    size_t padded = (ix->o.dim + 63) / 64 * 64;
    char *at = buffer;
    p->centred = (float *)(void *)at;
    at += padded * sizeof(float);
    p->q16 = (int16_t *)(void *)at;
    at += padded * sizeof(int16_t);
    p->hi = (int8_t *)at;
    p->lo = (int8_t *)at + padded;
}

/** norm, unit and code from centred. */
static void quantise(const struct index *ix, struct prepared *p)
{
    int16_t values[INDEX_DIM_MAX];
    size_t dim = ix->o.dim;
    float most = 0;
    double norm = 0;
    for (size_t d = 0; d < dim; d++) {
        float a = fabsf(p->centred[d]);
        if (a > most) most = a;
        norm += (double)p->centred[d] * (double)p->centred[d];
    }
    p->norm = (float)norm;
    p->length = (float)sqrt(norm);
    p->unit = 0;
    if (ix->by_value) return;
    float unit = most / (float)CODE_QUERY_MAX, inverse = unit > 0 ? 1 / unit : 0;
    if (!isfinite(inverse)) unit = inverse = 0;
    for (size_t d = 0; d < dim; d++) {
        float v = rintf(p->centred[d] * inverse);
        values[d] = (int16_t)(v > CODE_QUERY_MAX ? CODE_QUERY_MAX
                : v < -CODE_QUERY_MAX            ? -CODE_QUERY_MAX
                                                 : (int)v);
    }
    code_query_split(values, dim, p->hi, p->lo, p->q16, &p->code);
    p->unit = unit;
}

void codes__prepare(const struct index *ix, const float *vector, double scale, struct prepared *p)
{
    turn(ix, vector, scale, p->centred);
    for (size_t d = 0; d < ix->o.dim; d++)
        p->centred[d] -= ix->centre.rotated[d];
    quantise(ix, p);
}

void codes__prepare_node(const struct index *ix, uint32_t node, struct prepared *p)
{
    decode(ix, node, p->centred);
    quantise(ix, p);
}

/* ---- exact distances ---- */
static float dot_value(const struct index *ix, const float *q, uint32_t node)
{
    if (ix->by_value) return ix->o.kernels->dot(q, plain_row(ix, node), ix->o.dim);
    const char *row = index__row(ix, node);
    float unit = row__head(row)->scale / ix->value_unit;
    const struct code_kernels *k = ix->codes;
    return unit *
        (ix->o.bits == 24 ? k->dot_fixed24(q, row__code(row), index__low(ix, node), ix->o.dim)
                          : k->dot_fixed12(q, row__code(row), index__low(ix, node), ix->o.dim));
}

static float l2sq_value(const struct index *ix, const float *centred, uint32_t node)
{
    if (ix->by_value) return ix->o.kernels->l2sq(centred, plain_row(ix, node), ix->o.dim);
    const char *row = index__row(ix, node);
    float unit = row__head(row)->scale / ix->value_unit;
    const struct code_kernels *k = ix->codes;
    return ix->o.bits == 24
        ? k->l2sq_fixed24(centred, unit, row__code(row), index__low(ix, node), ix->o.dim)
        : k->l2sq_fixed12(centred, unit, row__code(row), index__low(ix, node), ix->o.dim);
}

float codes__distance(const struct index *ix, const struct prepared *p, uint32_t node)
{
    if (ix->o.metric == INDEX_DOT) return -dot_value(ix, p->centred, node);
    float d = l2sq_value(ix, p->centred, node);
    return ix->o.metric == INDEX_L2 ? d : d / 2 - 1;
}

/** In the domain of estimates, by the whole values. */
static float by_value(
    const struct index *ix, enum metric_kind metric, const struct prepared *p, uint32_t node)
{
    return metric == INDEX_DOT ? -dot_value(ix, p->centred, node)
                               : l2sq_value(ix, p->centred, node);
}

/* ---- estimates ---- */
static inline void estimate_rows(const struct index *ix, enum metric_kind metric,
    const struct prepared *p, const char *const rows[4], float ret[4])
{
    const uint8_t *codes[4];
    float dots[4];
    for (size_t j = 0; j < 4; j++)
        codes[j] = row__code(rows[j]);
    ix->codes->query_dot4(&p->code, codes, ix->o.dim, dots);
    for (size_t j = 0; j < 4; j++) {
        const struct row_head *h = row__head(rows[j]);
        float product = p->unit * h->scale * dots[j];
        ret[j] = metric == INDEX_DOT ? -product : p->norm + h->norm - 2 * product;
    }
}

void codes__estimate4(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    const uint32_t nodes[4], float ret[4])
{
    const char *rows[4];
    for (size_t j = 0; j < 4; j++) {
        if (ix->by_value) ret[j] = by_value(ix, metric, p, nodes[j]);
        rows[j] = index__row(ix, nodes[j]);
    }
    if (!ix->by_value) estimate_rows(ix, metric, p, rows, ret);
}

void codes__estimate(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    const uint32_t *nodes, size_t n, float *ret)
{
    enum { CHUNK = LINKS_MAX };
    const char *rows[CHUNK + 3];
    float last[4];
    for (size_t i = 0; ix->by_value && i < n; i++)
        ret[i] = by_value(ix, metric, p, nodes[i]);
    for (size_t from = 0; !ix->by_value && from < n; from += CHUNK) {
        size_t k = n - from < CHUNK ? n - from : CHUNK;
        for (size_t i = 0; i < k; i++) {
            rows[i] = index__row(ix, nodes[from + i]);
            if (i < FETCH_AHEAD) codes__prefetch_row(ix, rows[i]);
        }
        for (size_t i = k; i % 4; i++)
            rows[i] = rows[k - 1];
        for (size_t i = 0; i < k; i += 4) {
            for (size_t j = i + FETCH_AHEAD; j < k && j < i + FETCH_AHEAD + 4; j++)
                codes__prefetch_row(ix, rows[j]);
            estimate_rows(ix, metric, p, rows + i, i + 4 <= k ? ret + from + i : last);
            for (size_t j = i; i + 4 > k && j < k; j++)
                ret[from + j] = last[j - i];
        }
    }
}

void codes__refine(const struct index *ix, enum metric_kind metric, const struct prepared *p,
    uint64_t *keys, size_t n)
{
    if (metric == INDEX_DOT || ix->by_value) return;
    for (size_t i = 0; i < n; i++) {
        uint32_t node = key_node(keys[i]);
        float scale = row__head(index__row(ix, node))->scale;
        if (key_distance(keys[i]) > NEAR_UNITS * scale * scale) continue;
        keys[i] = key_make(l2sq_value(ix, p->centred, node), node);
    }
    keys__sort(keys, n);
}

/** codes__between where there are no codes. */
static void between_values(const struct index *ix, enum metric_kind metric, uint32_t a,
    const uint32_t *nodes, size_t n, float *ret)
{
    const float *values = plain_row(ix, a);
    for (size_t i = 0; i < n; i++)
        ret[i] = metric == INDEX_DOT ? -dot_value(ix, values, nodes[i])
                                     : l2sq_value(ix, values, nodes[i]);
}

void codes__between(const struct index *ix, enum metric_kind metric, uint32_t a,
    const uint32_t *nodes, size_t n, float *ret)
{
    float values[INDEX_DIM_MAX]; /* of a, when they are asked for */
    bool decoded = false;
    const char *row = index__row(ix, a);
    const struct row_head *ha = row__head(row);
    if (ix->by_value) {
        between_values(ix, metric, a, nodes, n, ret);
        return;
    }
    for (size_t i = 0; i < n; i += 4) {
        const uint8_t *codes[4];
        int32_t dots[4];
        for (size_t j = 0; j < 4; j++)
            codes[j] = row__code(index__row(ix, nodes[i + j < n ? i + j : i]));
        ix->codes->dot4(row__code(row), codes, ix->o.dim, dots);
        for (size_t j = 0; j < 4 && i + j < n; j++) {
            const struct row_head *h = row__head(index__row(ix, nodes[i + j]));
            float product = ha->scale * h->scale * (float)dots[j];
            float d = metric == INDEX_DOT ? -product : ha->norm + h->norm - 2 * product;
            if (metric != INDEX_DOT && d < NEAR_UNITS * ha->scale * h->scale) {
                if (!decoded) decode(ix, a, values);
                decoded = true;
                d = l2sq_value(ix, values, nodes[i + j]);
            }
            ret[i + j] = d;
        }
    }
}

/* ---- bounds ---- */
float codes__to_estimate(const struct index *ix, const struct prepared *p, float distance)
{
    if (ix->o.metric != INDEX_COSINE) return distance;
    (void)p;
    return distance >= 3.0f ? INFINITY : 2 + 2 * distance;
}

float codes__estimate_bound(
    const struct index *ix, const struct prepared *p, float distance, float scale)
{
    float root = sqrtf((float)ix->o.dim), at = codes__to_estimate(ix, p, distance);
    float lost = 0.5001f * root * scale, lost_of_query = 0.5001f * root * p->unit;
    float q = p->length, longest = 130 * root * scale;
    if (ix->o.metric == INDEX_DOT)
        return at + q * lost + longest * lost_of_query + SLACK * (q * longest) + UNDERFLOW;
    if (ix->o.metric == INDEX_COSINE) at += COSINE_ULPS;
    float r = sqrtf(at > 0 ? at : 0) + lost; /* from q to x̂, which is thus at most q + r long */
    return r * r + 2 * lost_of_query * (q + r) + SLACK * (r * r + (q + longest) * (q + longest)) +
        UNDERFLOW;
}

float codes__likely_bound(
    const struct index *ix, const struct prepared *p, float estimate, float scale)
{
    float reach = 2 * scale + p->unit * 4;
    if (ix->o.metric == INDEX_DOT) return estimate + reach * p->length;
    float r = sqrtf(estimate > 0 ? estimate : 0) + reach;
    return r * r;
}
