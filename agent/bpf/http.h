/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What HTTP looks like at the start of a read or write, and where it is counted. How a program gets
 * at these bytes, and where it keeps that a request waits for its response, is its own.
 */
#ifndef SCOPE_HTTP_H
#define SCOPE_HTTP_H

#include "kernel.h"

/* What a key counts; `agent/src/bpf/http/counts.rs` has the same. */
enum kind {
	REQUEST = 0,
	RESPONSE = 1,
	HTTP2_CONNECTION = 2,
};

struct key {
	/* When the process's leader started, since boot: pids are used again. */
	u64 started;
	u32 pid;
	u16 kind;
	u16 code;
};

struct value {
	u64 count;
	u64 cgroup;
};

/*
 * Some 16,000 counters: 800 servers with 20 codes each, or 110 pods with 50 processes of 3 codes. No
 * LRU, which would drop counters that are in use; what finds no room is counted as lost.
 */
struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_HASH);
	MAP_NUMBER(map_flags, BPF_F_NO_PREALLOC);
	MAP_NUMBER(max_entries, 16384);
	MAP_TYPE(key, struct key);
	MAP_TYPE(value, struct value);
} counts SEC(".maps");

/* How it went; `agent/src/bpf/http/counts.rs` has the same. */
enum stat {
	/* Reads and writes whose first bytes were looked at. */
	LOOKED_AT,
	/* Those whose bytes could not be read: pages of a file, memory that is gone, too many pieces. */
	SKIPPED,
	/* Status lines that were cut before their code. */
	SHORT,
	/* Requests that were taken for the body of the one before. */
	SUPPRESSED,
	/* Requests and responses that found no room. */
	LOST,
	STATS,
};

struct {
	MAP_NUMBER(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	MAP_NUMBER(max_entries, STATS);
	MAP_TYPE(key, u32);
	MAP_TYPE(value, u64);
} stats SEC(".maps");

INLINE void note(u32 stat)
{
	u64 *number = bpf_map_lookup_elem(&stats, &stat);
	if (number)
		/* A program may be interrupted by itself. */
		__sync_fetch_and_add(number, 1);
}

/* How many bytes tell a request or a status line with its code, and the room for reading them. */
#define HEAD 12
struct head {
	union {
		u8 bytes[32];
		struct {
			u64 first;
			u32 rest;
		};
	};
};

#define WORD4(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)
#define WORD8(a, b, c, d, e, f, g, h) ((u64)WORD4(a, b, c, d) | (u64)WORD4(e, f, g, h) << 32)

INLINE bool is_request(const struct head *head)
{
	u64 first = head->first;
	u32 next = first >> 32;

	switch ((u32)first) {
	case WORD4('G', 'E', 'T', ' '):
	case WORD4('P', 'U', 'T', ' '):
		return 1;
	case WORD4('P', 'O', 'S', 'T'):
	case WORD4('H', 'E', 'A', 'D'):
		return (next & 0xff) == ' ';
	case WORD4('P', 'A', 'T', 'C'):
		return (next & 0xffff) == WORD4('H', ' ', 0, 0);
	case WORD4('T', 'R', 'A', 'C'):
		return (next & 0xffff) == WORD4('E', ' ', 0, 0);
	case WORD4('D', 'E', 'L', 'E'):
		return (next & 0xffffff) == WORD4('T', 'E', ' ', 0);
	case WORD4('O', 'P', 'T', 'I'):
		return next == WORD4('O', 'N', 'S', ' ');
	case WORD4('C', 'O', 'N', 'N'):
		return next == WORD4('E', 'C', 'T', ' ');
	}
	return 0;
}

/* The preface with which a client begins HTTP/2; frames follow, which nothing here understands. */
INLINE bool is_http2(const struct head *head)
{
	return head->first == WORD8('P', 'R', 'I', ' ', '*', ' ', 'H', 'T');
}

INLINE bool is_status_line(const struct head *head)
{
	/* 1.0 and 1.1 differ in one bit. */
	return (head->first & ~(1ull << 56)) == WORD8('H', 'T', 'T', 'P', '/', '1', '.', '0');
}

/* The code of a status line; 0 for one that is no number from 100 to 999. */
INLINE u16 code_of(const struct head *head)
{
	u32 rest = head->rest;
	u32 hundreds = ((rest >> 8) & 0xff) - '0';
	u32 tens = ((rest >> 16) & 0xff) - '0';
	u32 ones = (rest >> 24) - '0';

	if ((rest & 0xff) != ' ' || hundreds - 1 > 8 || tens > 9 || ones > 9)
		return 0;
	return hundreds * 100 + tens * 10 + ones;
}

/*
 * The cgroup of a process: that of the memory controller where this is one of version 1 (then those
 * of version 2 say nothing of containers), else that of version 2.
 */
INLINE u64 cgroup_of(struct task_struct *task)
{
	struct css_set *set = 0;
	struct cgroup *cgroup = 0;
	struct kernfs_node *node = 0;
	u64 id = 0;

	READ(set, task->cgroups);
	if (ENUM_EXISTS(enum cgroup_subsys_id, memory_cgrp_id)) {
		u32 memory = ENUM_VALUE(enum cgroup_subsys_id, memory_cgrp_id);
		struct cgroup_subsys_state *state = 0;
		struct cgroup_root *root = 0;
		int hierarchy = 0;

		bpf_probe_read_kernel(&state, sizeof(state), (void *)&set->subsys[0] + memory * sizeof(state));
		READ(cgroup, state->cgroup);
		READ(root, cgroup->root);
		READ(hierarchy, root->hierarchy_id);
		if (!hierarchy)
			/* Version 2, where the controller may be off for this group. */
			cgroup = 0;
	}
	if (!cgroup)
		READ(cgroup, set->dfl_cgrp);
	READ(node, cgroup->kn);
	READ(id, node->id);
	return id;
}

INLINE void count(u16 kind, u16 code)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct task_struct *leader = 0;
	struct key key = {.kind = kind, .code = code};
	struct value *value;

	READ(leader, task->group_leader);
	READ(key.started, leader->start_boottime);
	READ(key.pid, task->tgid);
	value = bpf_map_lookup_elem(&counts, &key);
	if (!value) {
		struct value none = {.count = 0, .cgroup = cgroup_of(task)};

		/* Another thread may be faster. */
		bpf_map_update_elem(&counts, &key, &none, BPF_NOEXIST);
		value = bpf_map_lookup_elem(&counts, &key);
	}
	if (value)
		__sync_fetch_and_add(&value->count, 1);
	else
		note(LOST);
}

/* How many of the bytes moved tell what they are. */
INLINE u32 telling(u64 moved)
{
	u64 bytes = moved < HEAD ? moved : HEAD;

	/* The verifier does not follow that on all kernels. */
	OPAQUE(bytes);
	return bytes & 15;
}

/* The pieces that the first bytes may come in. */
#define PIECES 8

/*
 * Reads the first `want` bytes, at most HEAD, of pieces from a byte of the first one on. The pieces
 * must hold so many. Whether the list of them is the process's or the kernel's copy is `users`.
 */
INLINE bool gather(struct head *head, const struct iovec *pieces, u64 skip, u32 want, bool users)
{
	u32 have = 0;

#pragma clang loop unroll(disable)
	for (u32 i = 0; i < PIECES; i++) {
		struct iovec piece = {};
		u64 size;

		if (users ? bpf_probe_read_user(&piece, sizeof(piece), pieces + i)
			  : bpf_probe_read_kernel(&piece, sizeof(piece), pieces + i))
			return 0;
		size = piece.iov_len - skip;
		if (size > want - have)
			size = want - have;
		/* The verifier sees that 15 + 15 bytes fit. */
		OPAQUE(have);
		OPAQUE(size);
		have &= 15;
		size &= 15;
		if (bpf_probe_read_user(head->bytes + have, size, piece.iov_base + skip))
			return 0;
		have += size;
		if (have >= want)
			return 1;
		skip = 0;
	}
	return 0;
}

#endif
