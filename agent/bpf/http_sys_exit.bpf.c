/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Counts HTTP at the end of system calls, for kernels that refuse programs at functions. It runs at
 * every system call of the node. x86-64: system calls have other numbers and registers elsewhere.
 */
#include "http.h"

/*
 * The sockets on which a request was read and nothing written since, by inode: memory is used again
 * too soon for addresses. When one is dropped for room, a body may be taken for a request, no more.
 */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_LRU_HASH);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, u64);
	MAP_TYPE(value, u8);
} open SEC(".maps");

enum {
	SYS_READ = 0,
	SYS_WRITE = 1,
	SYS_READV = 19,
	SYS_WRITEV = 20,
	SYS_SENDFILE = 40,
	SYS_SENDTO = 44,
	SYS_RECVFROM = 45,
	SYS_SENDMSG = 46,
	SYS_RECVMSG = 47,
	SYS_SPLICE = 275,

	TS_COMPAT = 2,

	MSG_PEEK = 0x2,
	MSG_TRUNC = 0x20,
	MSG_ERRQUEUE = 0x2000,

	S_IFMT = 0170000,
	S_IFSOCK = 0140000,
	SOCK_STREAM = 1,
	AF_UNIX = 1,
	AF_INET = 2,
	AF_INET6 = 10,
};

/* Where the list of pieces is in the `struct msghdr` of a process. */
#define MSG_IOV 16

/* How a system call is handed its bytes. */
enum shape {
	BUFFER,
	PIECE_LIST,
	MESSAGE,
	/* From a file: there is nothing to look at. */
	FROM_FILE,
};

/* The inode of a stream socket among the files of the running process; 0 for any other file. */
INLINE u64 stream_socket(u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct files_struct *files = 0;
	struct fdtable *table = 0;
	struct file **list = 0;
	struct file *file = 0;
	struct inode *inode = 0;
	struct socket *socket = 0;
	struct sock *sk = 0;
	u32 status = 0, open_files = 0;
	u16 mode = 0, family = 0;
	short type = 0;
	unsigned long number = 0;

	/* 32-bit programs number their calls in another way. */
	READ(status, task->thread_info.status);
	if (status & TS_COMPAT)
		return 0;
	READ(files, task->files);
	READ(table, files->fdt);
	READ(open_files, table->max_fds);
	if (fd >= open_files)
		return 0;
	READ(list, table->fd);
	bpf_probe_read_kernel(&file, sizeof(file), list + fd);
	if (!file)
		return 0;
	READ(inode, file->f_inode);
	READ(mode, inode->i_mode);
	if ((mode & S_IFMT) != S_IFSOCK)
		return 0;
	READ(socket, file->private_data);
	READ(type, socket->type);
	READ(sk, socket->sk);
	READ(family, sk->__sk_common.skc_family);
	if (type != SOCK_STREAM || (family != AF_UNIX && family != AF_INET && family != AF_INET6))
		return 0;
	READ(number, inode->i_ino);
	return number;
}

/* Reads the first bytes that a system call has moved. */
INLINE bool look(struct head *head, enum shape shape, u64 at, u64 moved)
{
	u32 want = telling(moved);
	const struct iovec *pieces = (void *)at;

	note(LOOKED_AT);
	if (shape == MESSAGE && bpf_probe_read_user(&pieces, sizeof(pieces), (void *)at + MSG_IOV))
		goto skipped;
	if (shape == BUFFER ? !bpf_probe_read_user(head->bytes, want, (void *)at)
			    : gather(head, pieces, 0, want, 1))
		return 1;
skipped:
	note(SKIPPED);
	return 0;
}

INLINE int received(enum shape shape, u32 fd, u64 at, u64 moved, u64 flags)
{
	struct head head = {};
	u64 socket;
	u8 yes = 1;

	if (flags & (MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE))
		return 0;
	if (!look(&head, shape, at, moved))
		return 0;
	/* What is cheap to see first: hardly any read begins like a request. */
	if (is_http2(&head)) {
		if (stream_socket(fd))
			count(HTTP2_CONNECTION, 0);
		return 0;
	}
	if (!is_request(&head))
		return 0;
	socket = stream_socket(fd);
	if (!socket)
		return 0;
	if (bpf_map_lookup_elem(&open, &socket)) {
		note(SUPPRESSED);
		return 0;
	}
	count(REQUEST, 0);
	bpf_map_update_elem(&open, &socket, &yes, BPF_ANY);
	return 0;
}

INLINE int sent(enum shape shape, u32 fd, u64 at, u64 moved)
{
	struct head head = {};
	u64 socket = stream_socket(fd);

	if (!socket)
		return 0;
	if (shape != FROM_FILE && look(&head, shape, at, moved) && is_status_line(&head)) {
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
	bpf_map_delete_elem(&open, &socket);
	return 0;
}

SEC("tp_btf/sys_exit")
int http_sys_exit(u64 *ctx)
{
	struct pt_regs *regs = (void *)ctx[0];
	s64 moved = ctx[1];
	enum shape shape = BUFFER;
	u64 flags = 0;
	u32 fd;

	if (moved <= 0)
		return 0;
	fd = regs->di;
	switch (regs->orig_ax) {
	case SYS_RECVFROM:
		flags = regs->r10;
		goto received;
	case SYS_READV:
		shape = PIECE_LIST;
		goto received;
	case SYS_RECVMSG:
		flags = regs->dx;
		shape = MESSAGE;
		goto received;
	case SYS_READ:
	received:
		return received(shape, fd, regs->si, moved, flags);
	case SYS_SPLICE:
		fd = regs->dx;
		shape = FROM_FILE;
		goto sent;
	case SYS_SENDFILE:
		shape = FROM_FILE;
		goto sent;
	case SYS_WRITEV:
		shape = PIECE_LIST;
		goto sent;
	case SYS_SENDMSG:
		shape = MESSAGE;
		goto sent;
	case SYS_WRITE:
	case SYS_SENDTO:
	sent:
		return sent(shape, fd, regs->si, moved);
	}
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
