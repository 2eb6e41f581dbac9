#include "server/http_internal.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HOST_BYTES = 256 };

/* "host:port" or "[host]:port" into host (empty: every address) and port. */
static bool split(const char *where, char host[HOST_BYTES], const char **ret_port)
{
    const char *colon = strrchr(where, ':');
    if (!colon || colon[1] == '\0' || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > 65535)
        return false;
    const char *from = where;
    size_t n = (size_t)(colon - where);
    if (n >= 2 && from[0] == '[' && from[n - 1] == ']') {
        from++;
        n -= 2;
    } else if (memchr(from, ':', n)) {
        return false; /* IPv6 without brackets */
    }
    if (n >= HOST_BYTES) return false;
    memcpy(host, from, n);
    host[n] = '\0';
    if (strcmp(host, "*") == 0) host[0] = '\0';
    *ret_port = colon + 1;
    return true;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, a, sizeof v4);
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    if (a->sa_family != AF_INET6) return false;
    struct sockaddr_in6 v6;
    memcpy(&v6, a, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) return v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

static enum err_code open_at(
    const char *where, const struct addrinfo *ai, int *ret_fd, struct err *e)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return err_errno(e, ERR_IO, errno, "no socket to listen on");
    int one = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) {
        *ret_fd = fd;
        return ERR_OK;
    }
    int errnum = errno;
    (void)close(fd);
    if (errnum == EADDRINUSE)
        return err_set(e, ERR_CONFLICT, "cannot listen on %s: another program does", where);
    return err_errno(e, ERR_IO, errnum, "cannot listen on %s", where);
}

static void describe(int fd, struct http_listen *l)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof at;
    memset(&at, 0, sizeof at);
    (void)getsockname(fd, (struct sockaddr *)&at, &n);
    char host[INET6_ADDRSTRLEN] = "?", port[8] = "0";
    (void)getnameinfo((const struct sockaddr *)&at, n, host, sizeof host, port, sizeof port,
        NI_NUMERICHOST | NI_NUMERICSERV);
    bool v6 = at.ss_family == AF_INET6;
    (void)snprintf(l->address, sizeof l->address, v6 ? "[%s]:%s" : "%s:%s", host, port);
    l->port = (uint16_t)strtoul(port, NULL, 10);
    l->loopback = is_loopback((const struct sockaddr *)&at);
    l->fd = fd;
}

enum err_code http_listen_open(const char *where, struct http_listen *ret, struct err *e)
{
    char host[HOST_BYTES];
    const char *port;
    if (!split(where, host, &port))
        return err_set(e, ERR_INVALID,
            "\"%s\" is no address to listen on; expected ADDRESS:PORT, such as 127.0.0.1:8080 or "
            "[::1]:8080",
            where);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV
    };
    struct addrinfo *found = NULL;
    if (strcmp(host, "localhost") == 0) /* RFC 6761; a bare container has no /etc/hosts to say so */
        (void)snprintf(host, sizeof host, "127.0.0.1");
    int rc = getaddrinfo(host[0] ? host : NULL, port, &hints, &found);
    if (rc != 0) return err_set(e, ERR_INVALID, "cannot listen on %s: %s", where, gai_strerror(rc));
    int fd = -1;
    enum err_code code = open_at(where, found, &fd, e);
    freeaddrinfo(found);
    if (code == ERR_OK) describe(fd, ret);
    return code;
}

size_t http_listen_raise_nofile(size_t want)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return want;
    if (r.rlim_cur >= want) return want;
    struct rlimit raised = { .rlim_cur = want < r.rlim_max ? want : r.rlim_max,
        .rlim_max = r.rlim_max };
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return raised.rlim_cur;
    return r.rlim_cur;
}
