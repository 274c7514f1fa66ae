/* Preloaded library that emulates dma-buf heaps, so that libcamera's virtual camera starts on a kernel without them.
   Opening a heap returns a memory file, an allocation returns another memory file of the requested size, and
   synchronization does nothing. For tests only. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static int memory(void) { return memfd_create("heap", MFD_CLOEXEC); }
static int is_heap(const char *path) { return path && strncmp(path, "/dev/dma_heap/", 14) == 0; }

#define OPEN(name)                                                                 \
    int name(const char *path, int flags, ...) {                                   \
        va_list rest;                                                              \
        va_start(rest, flags);                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;    \
        va_end(rest);                                                              \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);             \
        return is_heap(path) ? memory() : real(path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)

int ioctl(int handle, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == DMA_HEAP_IOCTL_ALLOC) {
        struct dma_heap_allocation_data *wanted = argument;
        int made = memory();
        if (made < 0 || ftruncate(made, (off_t)wanted->len) < 0)
            return -1;
        wanted->fd = (unsigned)made;
        return 0;
    }
    if (((request >> 8) & 0xff) == DMA_BUF_BASE)
        return 0;
    int (*real)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
    return real(handle, request, argument);
}
