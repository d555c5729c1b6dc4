/* The clients that wrk and h2load cannot be: unique URLs, URLs in a zipf distribution, a new TLS connection for each request, all clients at
 * once, connections that are only kept. Every answer is compared with what the origin sends (pattern.h), byte for byte; what differs counts as
 * failed. One thread, HTTP/1.1, one JSON object on standard output.
 *
 * Usage: load --port PORT [--tls] [--fresh] [--once] [--hold] [--wait] [--connections N] [--seconds N | --requests N] --size N
 *             (--path PATH | --unique PREFIX | --prefix PREFIX --objects N [--zipf EXPONENT] [--seed N]) [--in-order] [--sites N]
 *
 *   --tls     TLS 1.3; sessions are never resumed
 *   --fresh   a new connection for each request
 *   --once    all connections are made first, then each asks once, all at the same time
 *   --hold    the same, one after the other; then prints "held" and keeps them until standard input ends
 *   --wait    all connections are made first; then prints "ready", and begins when there is a line on standard input;
 *             connections stay until the program ends
 *   --in-order  objects 0, 1, 2 and so on, each once
 *   --sites   request N is for the host siteI.test, I in turn, not for localhost */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

enum { EVENTS = 256, READ_BYTES = 256 << 10, HEAD_MAX = 8 << 10, PATIENCE_SECONDS = 20 };
enum stage { CLOSED, CONNECTING, READY, ASKING, READING };

struct connection {
    int fd, keeps;
    enum stage stage;
    SSL *ssl;
    size_t asked_length, asked_sent, head_length, body_start, seen;
    int in_body;
    double began;
    char asked[512], head[HEAD_MAX + 1], start[PATH_MAX_BYTES + 2];
};

static struct {
    int port, tls, fresh, once, hold, wait, stays, in_order;
    long connections, requests, size, objects, sites;
    double seconds, zipf;
    unsigned long seed;
    const char *path, *unique, *prefix;
} wish = {.connections = 1, .requests = -1, .size = -1, .seed = 1};

static struct connection *all;
static int poll_fd;
static SSL_CTX *tls;
static char protocol[64];
static unsigned char buffer[READ_BYTES];
static long begun, answered, failed, resumed, living;
static double *cumulated, *first_bytes, until;
static const char *why = "";

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* xorshift64*, so that each server is asked for the same in the same order. */
static double chance(void) {
    static uint64_t state;
    if (!state)
        state = wish.seed * 0x9e3779b97f4a7c15u | 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * 0x2545f4914f6cdd1du >> 11) / 9007199254740992.0;
}

static void make_zipf(void) {
    double sum = 0;
    cumulated = malloc(sizeof *cumulated * wish.objects);
    for (long i = 0; i < wish.objects; i++)
        cumulated[i] = sum += pow(i + 1, -wish.zipf);
}

static long pick(void) {
    if (wish.in_order)
        return begun % wish.objects;
    if (!cumulated)
        return chance() * wish.objects;
    double point = chance() * cumulated[wish.objects - 1];
    long low = 0, high = wish.objects - 1;
    while (low < high) {
        long middle = (low + high) / 2;
        if (cumulated[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int is_over(void) {
    return (wish.requests >= 0 && begun >= wish.requests) || (wish.seconds > 0 && now() >= until);
}

static void leave(struct connection *connection) {
    if (connection->stage == CLOSED)
        return;
    SSL_free(connection->ssl);
    connection->ssl = NULL;
    close(connection->fd);
    connection->stage = CLOSED;
    living--;
}

static void fail(struct connection *connection, const char *reason) {
    why = reason;
    failed++;
    leave(connection);
}

static void enter(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(wish.port)};
    int on = 1;
    struct linger reset = {1, 0};
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection->fd < 0) {
        perror("socket");
        exit(1);
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* No port is left in TIME_WAIT: thousands of handshakes a second would use them up. */
    if (wish.fresh)
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    connection->stage = CONNECTING;
    living++;
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS) {
        fail(connection, "not connected");
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, connection->fd, &event);
    if (tls) {
        connection->ssl = SSL_new(tls);
        SSL_set_fd(connection->ssl, connection->fd);
        SSL_set_tlsext_host_name(connection->ssl, "localhost");
        SSL_set_connect_state(connection->ssl);
    }
}

/* Bytes, 0 for "later", -1 for the end. */
static ssize_t take(struct connection *connection) {
    ssize_t got = connection->ssl ? SSL_read(connection->ssl, buffer, READ_BYTES) : read(connection->fd, buffer, READ_BYTES);
    if (got > 0)
        return got;
    if (connection->ssl) {
        int error = SSL_get_error(connection->ssl, got);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    return got < 0 && errno == EAGAIN ? 0 : -1;
}

static ssize_t give(struct connection *connection, const char *bytes, size_t length) {
    ssize_t sent = connection->ssl ? SSL_write(connection->ssl, bytes, length) : write(connection->fd, bytes, length);
    if (sent > 0)
        return sent;
    if (connection->ssl) {
        int error = SSL_get_error(connection->ssl, sent);
        return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
    }
    return sent < 0 && errno == EAGAIN ? 0 : -1;
}

/* Whether the handshake is done; without TLS, whether there is a connection. */
static int is_connected(struct connection *connection) {
    if (!connection->ssl) {
        int error = 0;
        socklen_t length = sizeof error;
        struct sockaddr_in peer;
        socklen_t peer_length = sizeof peer;
        getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error)
            fail(connection, "not connected");
        return !error && !getpeername(connection->fd, (struct sockaddr *)&peer, &peer_length);
    }
    int done = SSL_connect(connection->ssl);
    if (done == 1) {
        resumed += SSL_session_reused(connection->ssl);
        snprintf(protocol, sizeof protocol, "%s %s", SSL_get_version(connection->ssl), SSL_get_cipher_name(connection->ssl));
        return 1;
    }
    int error = SSL_get_error(connection->ssl, done);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail(connection, "no handshake");
    return 0;
}

static void ask(struct connection *connection) {
    char path[PATH_MAX_BYTES + 1], host[32] = "localhost";
    if (wish.path)
        snprintf(path, sizeof path, "%s", wish.path);
    else if (wish.unique)
        snprintf(path, sizeof path, "%s%ld", wish.unique, begun);
    else
        snprintf(path, sizeof path, "%s%ld", wish.prefix, pick());
    if (wish.sites)
        snprintf(host, sizeof host, "site%ld.test", begun % wish.sites);
    begun++;
    connection->asked_length = snprintf(connection->asked, sizeof connection->asked,
        "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
    connection->asked_sent = connection->head_length = connection->seen = connection->in_body = 0;
    connection->body_start = body_start(connection->start, path, strlen(path), wish.size);
    connection->began = now();
    connection->stage = ASKING;
}

/* The answer's header: 200, of the size that is wanted, at once. Returns the offset of the body, 0 when more is to come. */
static size_t read_head(struct connection *connection) {
    connection->head[connection->head_length] = 0;
    char *end = strstr(connection->head, "\r\n\r\n");
    if (!end) {
        if (connection->head_length == HEAD_MAX)
            fail(connection, "a long header");
        return 0;
    }
    char *length = strcasestr(connection->head, "\r\ncontent-length:");
    if (strncmp(connection->head, "HTTP/1.1 200", 12)) {
        static char told[64];
        snprintf(told, sizeof told, "%.40s", connection->head);
        told[strcspn(told, "\r\n")] = 0;
        fail(connection, told);
        return 0;
    }
    /* Before its length is known, a body that is still being fetched may come in chunks; nobody here is asked for such. */
    if (!length || length > end || atol(length + 17) != wish.size) {
        fail(connection, "another length");
        return 0;
    }
    char *close = strcasestr(connection->head, "\r\nconnection: close");
    connection->keeps = !(close && close < end);
    connection->in_body = 1;
    return end + 4 - connection->head;
}

static int is_right(struct connection *connection, const unsigned char *bytes, size_t length) {
    size_t seen = connection->seen;
    if (seen + length > (size_t)wish.size)
        return 0;
    if (seen < connection->body_start) {
        size_t own = connection->body_start - seen < length ? connection->body_start - seen : length;
        if (memcmp(bytes, connection->start + seen, own))
            return 0;
        bytes += own;
        seen += own;
        length -= own;
    }
    return !memcmp(bytes, pattern + seen, length);
}

/* Whether the answer is complete. */
static int receive(struct connection *connection) {
    for (;;) {
        ssize_t got = take(connection);
        if (got == 0)
            return 0;
        if (got < 0) {
            fail(connection, "ended early");
            return 0;
        }
        unsigned char *bytes = buffer;
        if (!connection->head_length && first_bytes)
            first_bytes[connection - all] = now() - connection->began;
        if (!connection->in_body) {
            size_t before = connection->head_length, room = HEAD_MAX - before;
            size_t taken = (size_t)got < room ? (size_t)got : room;
            memcpy(connection->head + before, buffer, taken);
            connection->head_length += taken;
            size_t body = read_head(connection);
            if (connection->stage == CLOSED)
                return 0;
            if (!body)
                continue;
            bytes += body - before;
            got -= body - before;
        }
        if (!is_right(connection, bytes, got)) {
            fail(connection, "a wrong body");
            return 0;
        }
        connection->seen += got;
        if (connection->seen == (size_t)wish.size)
            return 1;
    }
}

static void go_on(struct connection *connection) {
    for (;;) {
        switch (connection->stage) {
        case CLOSED:
            return;
        case CONNECTING:
            if (!is_connected(connection))
                return;
            connection->stage = READY;
            break;
        case READY:
            if (wish.once || wish.wait)
                return;
            if (is_over()) {
                if (wish.stays) {
                    connection->stage = CLOSED;
                    living--;
                } else
                    leave(connection);
                return;
            }
            ask(connection);
            break;
        case ASKING: {
            size_t done = connection->asked_sent;
            ssize_t sent = give(connection, connection->asked + done, connection->asked_length - done);
            if (sent < 0)
                fail(connection, "not sent");
            if (sent <= 0)
                return;
            connection->asked_sent += sent;
            if (connection->asked_sent == connection->asked_length)
                connection->stage = READING;
            break;
        }
        case READING:
            if (!receive(connection))
                return;
            answered++;
            connection->stage = READY;
            if (wish.once || wish.hold)
                return;
            if (wish.fresh || !connection->keeps) {
                leave(connection);
                if (is_over())
                    return;
                enter(connection);
            }
            break;
        }
    }
}

static int all_rest(void) {
    for (long i = 0; i < wish.connections; i++)
        if (all[i].stage != READY && all[i].stage != CLOSED)
            return 0;
    return 1;
}

/* Until so many answers are there; with 0 until all have left, with -1 until all that have come are connected. */
static void run(long expected) {
    struct epoll_event events[EVENTS];
    double patience = now() + PATIENCE_SECONDS + wish.seconds;
    while (expected < 0 ? !all_rest() : living && !(expected && answered + failed >= expected)) {
        int ready = epoll_wait(poll_fd, events, EVENTS, 1000);
        for (int i = 0; i < ready; i++)
            go_on(events[i].data.ptr);
        if (ready > 0 && (wish.seconds <= 0 || now() < until))
            patience = now() + PATIENCE_SECONDS;
        if (now() > patience) {
            why = "no answer for a long time";
            failed += living;
            return;
        }
    }
}

static int by_size(const void *one, const void *two) {
    double difference = *(const double *)one - *(const double *)two;
    return (difference > 0) - (difference < 0);
}

static void print(double took) {
    printf("{\"answered\": %ld, \"failed\": %ld, \"resumed\": %ld, \"seconds\": %.6f, \"why\": \"%s\", \"protocol\": \"%s\"",
           answered, failed, resumed, took, why, protocol);
    if (first_bytes) {
        qsort(first_bytes, wish.connections, sizeof *first_bytes, by_size);
        printf(", \"first_byte_ms\": %.3f, \"last_first_byte_ms\": %.3f", first_bytes[wish.connections / 2] * 1e3,
               first_bytes[wish.connections - 1] * 1e3);
    }
    puts("}");
    fflush(stdout);
}

static void read_words(int count, char **words) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"tls", 0, 0, 't'}, {"fresh", 0, 0, 'f'}, {"once", 0, 0, 'o'}, {"hold", 0, 0, 'h'},
        {"wait", 0, 0, 'w'}, {"in-order", 0, 0, 'i'}, {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"requests", 1, 0, 'n'}, {"size", 1, 0, 'b'},
        {"path", 1, 0, 'P'}, {"unique", 1, 0, 'u'}, {"prefix", 1, 0, 'x'}, {"objects", 1, 0, 'O'}, {"zipf", 1, 0, 'z'},
        {"seed", 1, 0, 'r'}, {"sites", 1, 0, 'S'}, {0, 0, 0, 0}};
    for (int word; (word = getopt_long(count, words, "", names, NULL)) != -1;)
        switch (word) {
        case 'p': wish.port = atoi(optarg); break;
        case 't': wish.tls = 1; break;
        case 'f': wish.fresh = 1; break;
        case 'o': wish.once = 1; break;
        case 'h': wish.hold = 1; break;
        case 'w': wish.wait = wish.stays = 1; break;
        case 'i': wish.in_order = 1; break;
        case 'c': wish.connections = atol(optarg); break;
        case 's': wish.seconds = atof(optarg); break;
        case 'n': wish.requests = atol(optarg); break;
        case 'b': wish.size = atol(optarg); break;
        case 'P': wish.path = optarg; break;
        case 'u': wish.unique = optarg; break;
        case 'x': wish.prefix = optarg; break;
        case 'O': wish.objects = atol(optarg); break;
        case 'z': wish.zipf = atof(optarg); break;
        case 'r': wish.seed = atol(optarg); break;
        case 'S': wish.sites = atol(optarg); break;
        default: exit(2);
        }
    int ends = wish.once || wish.hold || wish.requests >= 0 || wish.seconds > 0;
    if (!wish.port || !ends || wish.connections < 1 || wish.size < 1 || wish.size > BODY_MAX
        || !(wish.path || wish.unique || (wish.prefix && wish.objects > 0))) {
        fputs("load: see the head of load.c\n", stderr);
        exit(2);
    }
}

int main(int count, char **words) {
    read_words(count, words);
    signal(SIGPIPE, SIG_IGN);
    make_pattern();
    if (wish.zipf > 0)
        make_zipf();
    if (wish.tls) {
        tls = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION);
        SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    poll_fd = epoll_create1(0);
    all = calloc(wish.connections, sizeof *all);
    double began = now();
    until = began + wish.seconds;
    if (wish.hold) {
        /* One at a time: none is refused for the length of a queue. */
        for (long i = 0; i < wish.connections && !failed; i++) {
            enter(&all[i]);
            run(i + 1);
        }
        puts(failed ? why : "held");
        fflush(stdout);
        while (read(0, buffer, 1) > 0)
            ;
        return failed != 0;
    }
    for (long i = 0; i < wish.connections; i++) {
        enter(&all[i]);
        /* So that no listener's queue overflows. */
        if (i % 100 == 99 && (wish.once || wish.wait))
            run(-1);
    }
    if (wish.wait) {
        run(-1);
        puts("ready");
        fflush(stdout);
        if (read(0, buffer, 1) < 1)
            return 1;
        began = now();
        until = began + wish.seconds;
        wish.wait = 0;
        for (long i = 0; i < wish.connections; i++)
            go_on(&all[i]);
    }
    if (wish.once) {
        run(-1);
        first_bytes = calloc(wish.connections, sizeof *first_bytes);
        began = now();
        for (long i = 0; i < wish.connections; i++)
            if (all[i].stage == READY) {
                ask(&all[i]);
                go_on(&all[i]);
            }
        run(wish.connections);
    } else {
        run(0);
    }
    print(now() - began);
    return 0;
}
