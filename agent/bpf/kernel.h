/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs here know of the kernel: the helpers that they call, and of each structure just
 * the fields that they read. Where a field lies in the running kernel is filled in when a program is
 * loaded (CO-RE), so the order and the rest of a structure do not matter here.
 */
#ifndef SCOPE_KERNEL_H
#define SCOPE_KERNEL_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef int s32;
typedef unsigned long long u64;
typedef long long s64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
/* One body for several programs of an object. */
#define SHARED static __attribute__((noinline))

/* How a map is described to its loader. */
#define MAP_NUMBER(name, value) int(*name)[value]
#define MAP_TYPE(name, value) typeof(value) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,

	BPF_F_NO_PREALLOC = 1,
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_SK_STORAGE_GET_F_CREATE = 1,
};

/* The numbers are the kernel's and never change. */
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static u64 (*bpf_get_current_task)(void) = (void *)35;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, u64 flags) = (void *)107;
static long (*bpf_probe_read_user)(void *to, u32 size, const void *from) = (void *)112;
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;

/*
 * Reads a field into a variable of the same type; zero when it cannot be read. Not by following the
 * pointer: Linux 6.1 refuses that after any arithmetic on it.
 */
#define READ(variable, field) bpf_probe_read_kernel(&(variable), sizeof(variable), &(field))

/* The second argument asks "does it exist" (2, and for enums 0) or "which value" (1). */
#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define ENUM_EXISTS(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 0)
#define ENUM_VALUE(type, name) __builtin_preserve_enum_value(*(typeof(type) *)name, 1)

/* Hides from the compiler what it knows of a number, so that it keeps a check the verifier needs. */
#define OPAQUE(number) asm volatile("" : "+r"(number))

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* One level of indirection each; the names are the kernel's. */

struct kernfs_node {
	u64 id;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct inode {
	u16 i_mode;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct fdtable {
	u32 max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct thread_info {
	u32 status;
};

struct task_struct {
	struct thread_info thread_info;
	s32 tgid;
	struct task_struct *group_leader;
	u64 start_boottime;
	struct files_struct *files;
	struct css_set *cgroups;
};

struct sock_common {
	u16 skc_family;
};

struct sock {
	struct sock_common __sk_common;
};

struct socket {
	short type;
	struct sock *sk;
};

/* Also what a process hands over, with the same layout. */
struct iovec {
	void *iov_base;
	u64 iov_len;
};

struct iov_iter {
	u8 iter_type;
	u64 iov_offset;
	void *ubuf;
	/* The same under its name before and since Linux 6.4. */
	const struct iovec *iov;
	const struct iovec *__iov;
};

struct msghdr {
	struct iov_iter msg_iter;
};


/* Of x86-64. */
struct pt_regs {
	u64 r10;
	u64 dx;
	u64 si;
	u64 di;
	u64 orig_ax;
};

#pragma clang attribute pop

enum cgroup_subsys_id {
	memory_cgrp_id = 1,
};

/* Since Linux 6.0, and with other numbers later. */
enum iter_type {
	ITER_IOVEC = 1,
	ITER_UBUF = 2,
};

#endif
