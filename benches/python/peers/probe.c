// Speed of the machine's memory, measured beside each row: the machine is shared, so a figure needs its minute.
//
// One line in, one line of JSON out. Loads depend on each other, so nothing but the latency of a line (and of its page
// table entry: no huge pages are asked for) counts.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LINE = 64, STEPS = 200000 };
typedef struct { uint32_t next; uint32_t pad[LINE / 4 - 1]; } Line;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// A linear congruence of full period visits all lines in one cycle: as good as a shuffle here, and made in one pass.
static void chain(Line *lines, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) lines[i].next = (i * 747796405u + 2891336453u) & (count - 1);
}

static double latency(const Line *lines, uint32_t *at) {
    uint32_t i = *at;
    double start = now();
    for (int step = 0; step < STEPS; step++) i = lines[i].next;
    double took = now() - start;
    *at = i;
    return took / STEPS * 1e9;
}

static double bandwidth(const uint64_t *words, size_t count, uint64_t *sink) {
    uint64_t sum[8] = {0};
    double start = now();
    for (size_t i = 0; i < count; i += 8)
        for (int lane = 0; lane < 8; lane++) sum[lane] += words[i + lane];
    double took = now() - start;
    for (int lane = 0; lane < 8; lane++) *sink += sum[lane];
    return (double)(count * sizeof *words) / took / 1e9;
}

int main(void) {
    const uint32_t small = (128u << 20) / LINE, large = (1024u << 20) / LINE;
    Line *lines = aligned_alloc(4096, (size_t)large * LINE), *few = aligned_alloc(4096, (size_t)small * LINE);
    if (!lines || !few) {
        fprintf(stderr, "the probe got no memory: it needs 1.2 GiB\n");
        return 1;
    }
    chain(lines, large);
    chain(few, small);
    uint32_t here = 1, there = 1;
    uint64_t sink = 0;
    char line[16];
    while (fgets(line, sizeof line, stdin)) {
        // The stream comes last: it would leave lines of the chain in the cache.
        double near = latency(few, &here), far = latency(lines, &there);
        double stream = bandwidth((const uint64_t *)lines, (size_t)256 << 17, &sink);
        // Printed so that no loop is thrown away as useless.
        printf("{\"ns_128mib\": %.1f, \"ns_1gib\": %.1f, \"gb_s\": %.2f, \"sink\": %u}\n", near, far, stream,
               (unsigned)((sink ^ here ^ there) & 1));
        fflush(stdout);
    }
    return 0;
}
