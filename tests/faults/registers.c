/* Lets a kernel of user-mode Linux run on processors whose registers are more than it knows.
 *
 * It keeps 2,696 bytes of a process's registers (up to AVX-512 and the protection keys), and gives back what it kept; of
 * a processor with AMX a host takes all 11,008 bytes or none (EFAULT). Preloaded, this gives the host what it has itself
 * for the rest: the tiles, which nothing in a guest has asked for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define XSTATE ((void *)0x202) /* NT_X86_XSTATE, linux/elf.h */
#define HEADER 512             /* where the mask of the components that are in use lies */
#define KNOWN 0x2ffUL          /* x87, SSE, AVX, AVX-512 (three), PKRU: components 0 to 7 and 9 */

static long (*host)(enum __ptrace_request, pid_t, void *, void *);

static long give(pid_t pid, const struct iovec *kept) {
    static char all[16384]; /* not on the stack: a kernel's is no bigger; and it has one processor */
    struct iovec whole = {all, sizeof all};
    unsigned long used;
    long result = host(PTRACE_GETREGSET, pid, XSTATE, &whole);
    if (result != 0 || whole.iov_len <= kept->iov_len)
        return host(PTRACE_SETREGSET, pid, XSTATE, (void *)kept);
    memcpy(all, kept->iov_base, kept->iov_len);
    memcpy(&used, all + HEADER, sizeof used);
    used &= KNOWN;
    memcpy(all + HEADER, &used, sizeof used);
    return host(PTRACE_SETREGSET, pid, XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...) {
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    if (host == 0)
        host = (long (*)(enum __ptrace_request, pid_t, void *, void *))dlsym(RTLD_NEXT, "ptrace");
    if (request == PTRACE_SETREGSET && address == XSTATE)
        return give(pid, data);
    return host(request, pid, address, data);
}
