/*
 * The init of a Linux guest that does what the `echo` unikernel does over TCP: port 7, one caller after the other.
 *
 * Its arguments are the address of eth0, the netmask, and the host that is told by a datagram to port 5000 when the
 * guest is there.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static char buffer[1 << 16];

static void fail(const char *what)
{
    perror(what);
    for (;;) {
        pause();
    }
}

static void set_address(int any, unsigned long request, const char *text)
{
    struct ifreq wanted = {.ifr_name = "eth0"};
    struct sockaddr_in *address = (struct sockaddr_in *)&wanted.ifr_addr;
    address->sin_family = AF_INET;
    inet_pton(AF_INET, text, &address->sin_addr);
    if (ioctl(any, request, &wanted)) {
        fail("address");
    }
}

static void bring_up(const char *address, const char *netmask)
{
    int module = open("/xen-netfront.ko", O_RDONLY);
    if (module < 0 || syscall(SYS_finit_module, module, "", 0)) {
        fail("xen-netfront");
    }
    while (!if_nametoindex("eth0")) {
        usleep(10000);
    }
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    set_address(any, SIOCSIFADDR, address);
    set_address(any, SIOCSIFNETMASK, netmask);
    struct ifreq wanted = {.ifr_name = "eth0", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (ioctl(any, SIOCSIFFLAGS, &wanted)) {
        fail("up");
    }
}

static void tell(const char *host)
{
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(5000)};
    inet_pton(AF_INET, host, &to.sin_addr);
    if (sendto(sender, "up", 2, 0, (struct sockaddr *)&to, sizeof(to)) != 2) {
        fail("beacon");
    }
    close(sender);
}

static void echo(int caller)
{
    int one = 1;
    setsockopt(caller, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    ssize_t got;
    while ((got = read(caller, buffer, sizeof(buffer))) > 0) {
        for (ssize_t sent = 0, now; sent < got; sent += now) {
            if ((now = write(caller, buffer + sent, (size_t)(got - sent))) <= 0) {
                return;
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fail("usage: init ADDRESS NETMASK HOST");
    }
    bring_up(argv[1], argv[2]);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(7)};
    if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 5)) {
        fail("port 7");
    }
    tell(argv[3]);
    for (int caller; (caller = accept(listener, NULL, NULL)) >= 0; close(caller)) {
        echo(caller);
    }
    fail("accept");
}
