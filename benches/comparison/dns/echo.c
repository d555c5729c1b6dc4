/* The floor of DNS over UDP: datagrams go back as they came, but for the bit that makes them answers. Each worker
 * is a process with a socket of its own: one recvmmsg(2) and one sendmmsg(2) for each batch, and nothing between them.
 * Usage: echo PORT WORKERS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 64, SIZE = 4096 };

static unsigned char buffers[BATCH][SIZE];
static struct sockaddr_in peers[BATCH];
static struct iovec parts[BATCH];
static struct mmsghdr messages[BATCH];

int main(int count, char **words) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int shared = 1;
    for (int workers = count > 2 ? atoi(words[2]) : 1; workers > 1 && fork() > 0; workers--)
        ;
    int socket_fd = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_port = htons(count > 1 ? atoi(words[1]) : 0);
    if (socket_fd < 0 || setsockopt(socket_fd, SOL_SOCKET, SO_REUSEPORT, &shared, sizeof shared) < 0 ||
        bind(socket_fd, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("echo");
        return 1;
    }
    for (int i = 0; i < BATCH; i++) {
        parts[i] = (struct iovec){buffers[i], SIZE};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (;;) {
        int received = recvmmsg(socket_fd, messages, BATCH, MSG_WAITFORONE, NULL);
        if (received <= 0)
            continue;
        for (int i = 0; i < received; i++) {
            parts[i].iov_len = messages[i].msg_len;
            buffers[i][2] |= 0x84;
        }
        for (int sent = 0; sent < received;) {
            int now = sendmmsg(socket_fd, messages + sent, received - sent, 0);
            sent += now > 0 ? now : 1;
        }
        for (int i = 0; i < received; i++) {
            parts[i].iov_len = SIZE;
            messages[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
    }
}
