/* What the origin sends and the clients expect: the path, a line feed, then bytes of a fixed sequence, each at its place. So a byte that
 * is foreign, missing or moved is seen. */
#include <stdint.h>
#include <string.h>

enum { BODY_MAX = 4 << 20, PATH_MAX_BYTES = 255 };

static unsigned char pattern[BODY_MAX];

static void make_pattern(void) {
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < BODY_MAX; i += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(pattern + i, &state, 8);
    }
}

/* The beginning of a body that is the path's own; returns its length, which is the body's for tiny ones. */
static size_t body_start(char *into, const char *path, size_t length, size_t size) {
    memcpy(into, path, length);
    into[length] = '\n';
    return length + 1 < size ? length + 1 : size;
}
