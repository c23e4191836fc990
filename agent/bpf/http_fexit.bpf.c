/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Counts HTTP at the return of the kernel's functions that read and write sockets. Every system call
 * reaches them, and io_uring does. One level below (tcp_recvmsg) multipath TCP is missed and TLS by the
 * kernel is seen encrypted; one above may be inlined.
 */
#include "http.h"

/* Whether a request was read from a socket and nothing written since. Goes with the socket. */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_SK_STORAGE);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_TYPE(key, int);
	MAP_TYPE(value, u32);
} conns SEC(".maps");

enum {
	MSG_PEEK = 0x2,
	MSG_TRUNC = 0x20,
	MSG_ERRQUEUE = 0x2000,

	SOCK_STREAM = 1,
};

/* How many pieces back the start is looked for: writev takes up to 1,024, and servers use a few. */
#define STEPS 32

/*
 * Reads the first of the bytes that a call has moved. After the call the iterator stands behind the
 * last of them.
 */
INLINE bool look(struct head *head, struct msghdr *message, u64 moved)
{
	struct iov_iter *iter = &message->msg_iter;
	u32 want = telling(moved);
	const struct iovec *piece = 0;
	u64 offset = 0, left = moved;
	u8 type = 0;

	note(LOOKED_AT);
	READ(type, iter->iter_type);
	READ(offset, iter->iov_offset);
	if (ENUM_EXISTS(enum iter_type, ITER_UBUF) && type == ENUM_VALUE(enum iter_type, ITER_UBUF)) {
		void *start = 0;

		READ(start, iter->ubuf);
		if (bpf_probe_read_user(head->bytes, want, start + offset - moved))
			goto skipped;
		return 1;
	}
	/* Anything else is memory of the kernel, as with sendfile. */
	if (type != ENUM_VALUE(enum iter_type, ITER_IOVEC))
		goto skipped;
	if (FIELD_EXISTS(iter->__iov))
		READ(piece, iter->__iov);
	else
		READ(piece, iter->iov);
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < STEPS && left > offset; i++) {
		left -= offset;
		piece--;
		if (bpf_probe_read_kernel(&offset, sizeof(offset), &piece->iov_len))
			goto skipped;
	}
	if (left > offset)
		goto skipped;
	if (gather(head, piece, offset - left, want, 0))
		return 1;
skipped:
	note(SKIPPED);
	return 0;
}

SHARED int received(struct socket *socket, struct msghdr *message, int flags, int moved)
{
	struct head head = {};
	struct sock *sk = socket->sk;
	u32 *waits;

	if (moved <= 0 || flags & (MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	if (!sk || socket->type != SOCK_STREAM || !look(&head, message, moved))
		return 0;
	if (is_http2(&head)) {
		count(HTTP2_CONNECTION, 0);
		return 0;
	}
	if (!is_request(&head))
		return 0;
	waits = bpf_sk_storage_get(&conns, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (waits && *waits) {
		note(SUPPRESSED);
		return 0;
	}
	count(REQUEST, 0);
	if (waits)
		*waits = 1;
	return 0;
}

INLINE void wrote(struct sock *sk)
{
	u32 *waits = bpf_sk_storage_get(&conns, sk, 0, 0);

	if (waits)
		*waits = 0;
}

SHARED int sent(struct socket *socket, struct msghdr *message, int moved)
{
	struct head head = {};
	struct sock *sk = socket->sk;

	if (moved <= 0 || !sk || socket->type != SOCK_STREAM)
		return 0;
	if (look(&head, message, moved) && is_status_line(&head)) {
		if (moved < HEAD) {
			note(SHORT);
		} else {
			u16 code = code_of(&head);

			count(RESPONSE, code);
			/* The request still waits, but for 101 after which there are none. */
			if (code >= 100 && code < 200 && code != 101)
				return 0;
		}
	}
	wrote(sk);
	return 0;
}

/* Whole pages, as sendfile writes them before Linux 6.5: there is nothing to look at. */
INLINE int sent_page(struct socket *socket, int moved)
{
	struct sock *sk = socket->sk;

	if (moved > 0 && sk && socket->type == SOCK_STREAM)
		wrote(sk);
	return 0;
}

/* Arguments: socket, message, size, flags; then what is returned. */
#define RECEIVE(function)                                                                          \
	SEC("fexit/" #function)                                                                    \
	int function(u64 *ctx)                                                                     \
	{                                                                                          \
		return received((void *)ctx[0], (void *)ctx[1], ctx[3], ctx[4]);                   \
	}

/* Arguments: socket, message, size; then what is returned. */
#define SEND(function)                                                                             \
	SEC("fexit/" #function)                                                                    \
	int function(u64 *ctx)                                                                     \
	{                                                                                          \
		return sent((void *)ctx[0], (void *)ctx[1], ctx[3]);                               \
	}

/* Arguments: socket, page, offset, size, flags; then what is returned. */
#define SEND_PAGE(function)                                                                        \
	SEC("fexit/" #function)                                                                    \
	int function(u64 *ctx)                                                                     \
	{                                                                                          \
		return sent_page((void *)ctx[0], ctx[5]);                                          \
	}

RECEIVE(inet_recvmsg)
RECEIVE(inet6_recvmsg)
RECEIVE(unix_stream_recvmsg)
SEND(inet_sendmsg)
SEND(inet6_sendmsg)
SEND(unix_stream_sendmsg)
SEND_PAGE(inet_sendpage)
SEND_PAGE(unix_stream_sendpage)

char _license[] SEC("license") = "Dual MIT/GPL";
