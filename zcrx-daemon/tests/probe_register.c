/* A program that knows nothing of zcrxd: it asks for an interface queue on a ring without the flags that
 * zcrx demands, and prints the errno it got. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define IORING_REGISTER_ZCRX_IFQ 32

int main(void)
{
	uint32_t ifq_reg[24] = { 1, 5, 64 }; /* if_idx, if_rxq, rq_entries; 96 bytes */
	uint8_t params[120];
	long ring;

	memset(params, 0, sizeof(params));
	ring = syscall(SYS_io_uring_setup, 4, params);
	if (ring < 0) {
		perror("io_uring_setup");
		return 1;
	}
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_ZCRX_IFQ, ifq_reg, 1) == 0)
		return 2;
	printf("%d\n", errno);
	return 0;
}
