/* The origin of the HTTP rows, cheap enough not to be what is measured: one thread, HTTP/1.1 with kept connections.
 *
 *   GET /SIZE/ANYTHING                     a body of so many bytes (pattern.h), fresh for an hour
 *   GET /paced/MILLISECONDS/SIZE/ANYTHING  the same in 64 pieces, evenly within that time, the first one at once
 *   GET /asked                             how many requests there were of the others
 *
 * Usage: origin PORT */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

enum { PIECES = 64, REQUEST_MAX = 16 << 10, EVENTS = 256 };

struct connection {
    int fd, closing, next_piece;
    size_t received, head_length, head_sent, body_from, body_to, size;
    /* Of a paced body: the time of its first piece and of all, 0 for others. */
    int64_t began, lasts;
    struct connection *next_paced;
    char request[REQUEST_MAX + 1], head[1024];
};

static int poll_fd;
static unsigned long asked;
static struct connection *paced;

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static const char *date(void) {
    static time_t last;
    static char text[64];
    time_t now = time(NULL);
    if (now != last) {
        struct tm parts;
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &parts));
        last = now;
    }
    return text;
}

static void forget(struct connection *connection) {
    for (struct connection **link = &paced; *link; link = &(*link)->next_paced)
        if (*link == connection) {
            *link = connection->next_paced;
            break;
        }
    close(connection->fd);
    free(connection);
}

/* How much of the body may be sent by now. */
static size_t due(struct connection *connection) {
    if (!connection->lasts)
        return connection->body_to;
    int64_t piece = (now_ms() - connection->began) * PIECES / connection->lasts + 1;
    size_t start = connection->size - (connection->size / PIECES) * PIECES;
    size_t end = start + connection->size / PIECES * (piece < PIECES ? piece : PIECES);
    return end < connection->body_to ? end : connection->body_to;
}

/* 1 when all is sent, 0 when it is to be gone on with later, -1 when the client is gone. */
static int go_on(struct connection *connection) {
    for (;;) {
        size_t until = due(connection);
        size_t body = until > connection->body_from ? until - connection->body_from : 0;
        size_t head = connection->head_length - connection->head_sent;
        if (head + body == 0)
            return connection->body_from >= connection->body_to;
        struct iovec parts[2] = {{connection->head + connection->head_sent, head}, {pattern + connection->body_from, body}};
        ssize_t sent = writev(connection->fd, parts, 2);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        size_t of_head = (size_t)sent < head ? (size_t)sent : head;
        connection->head_sent += of_head;
        connection->body_from += sent - of_head;
    }
}

/* Makes the answer to the request line that the buffer begins with; 0 when there is no such path. */
static int answer(struct connection *connection) {
    char *path = connection->request + 4, *end = strchr(path, ' ');
    if (strncmp(connection->request, "GET /", 5) || !end || end - path > PATH_MAX_BYTES)
        return 0;
    long lasts = 0, size = 0;
    char *head = connection->head;
    connection->head_sent = 0;
    connection->lasts = 0;
    if (!strncmp(path, "/asked ", 7)) {
        char text[32];
        int length = snprintf(text, sizeof text, "%lu", asked);
        connection->head_length = sprintf(head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", length, text);
        connection->body_from = connection->body_to = 0;
        return 1;
    }
    if (sscanf(path, "/paced/%ld/%ld/", &lasts, &size) != 2 && sscanf(path, "/%ld/", &size) != 1)
        return 0;
    if (size < 1 || size > BODY_MAX || lasts < 0 || lasts > 60000)
        return 0;
    asked++;
    size_t length = sprintf(head,
        "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: %ld\r\n"
        "Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\nETag: \"%lx\"\r\nCache-Control: public, max-age=3600\r\n\r\n",
        date(), size, size);
    size_t own = body_start(head + length, path, end - path, size);
    connection->head_length = length + own;
    connection->body_from = own;
    connection->body_to = connection->size = size;
    if (lasts) {
        connection->began = now_ms();
        connection->lasts = lasts;
        connection->next_paced = paced;
        paced = connection;
    }
    return 1;
}

/* Answers all requests that are there; the one at hand must be answered before the next is looked at. */
static int serve(struct connection *connection) {
    for (;;) {
        int done = go_on(connection);
        if (done <= 0)
            return done;
        if (connection->lasts) {
            for (struct connection **link = &paced; *link; link = &(*link)->next_paced)
                if (*link == connection) {
                    *link = connection->next_paced;
                    break;
                }
            connection->lasts = 0;
        }
        if (connection->closing)
            return -1;
        connection->request[connection->received] = 0;
        char *end = strstr(connection->request, "\r\n\r\n");
        if (!end) {
            if (connection->received == REQUEST_MAX)
                return -1;
            ssize_t got = read(connection->fd, connection->request + connection->received, REQUEST_MAX - connection->received);
            if (got <= 0)
                return got < 0 && errno == EAGAIN ? 0 : -1;
            connection->received += got;
            continue;
        }
        *end = 0;
        connection->closing = strcasestr(connection->request, "\r\nconnection: close") != NULL;
        if (!answer(connection))
            return -1;
        size_t used = end + 4 - connection->request;
        memmove(connection->request, end + 4, connection->received -= used);
    }
}

static void take(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
        if (fd < 0)
            return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *connection = calloc(1, sizeof *connection);
        connection->fd = fd;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    address.sin_port = htons(count > 1 ? atoi(words[1]) : 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) {
        perror("origin");
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    make_pattern();
    poll_fd = epoll_create1(0);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll_fd, events, EVENTS, paced ? 2 : -1);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                take(listener);
            else if (serve(connection) < 0)
                forget(connection);
        }
        for (struct connection *connection = paced, *next; connection; connection = next) {
            next = connection->next_paced;
            if (serve(connection) < 0)
                forget(connection);
        }
    }
}
