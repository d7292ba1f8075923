/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cleave: tracepoints. The fields have the names of <linux/cleave.h>; they run
 * in the thread of the vCPU, whose pid tells the VM.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cleave

#if !defined(CLV_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define CLV_TRACE_H

#include <linux/tracepoint.h>
#include "clv.h"

TRACE_EVENT(cleave_entry,
	    TP_PROTO(u32 vcpu, u64 rip),
	    TP_ARGS(vcpu, rip),
	    TP_STRUCT__entry(__field(u32, vcpu)
			     __field(u64, rip)),
	    TP_fast_assign(__entry->vcpu = vcpu;
			   __entry->rip = rip;),
	    TP_printk("vcpu=%u rip=0x%llx", __entry->vcpu, __entry->rip)
);

TRACE_EVENT(cleave_exit,
	    TP_PROTO(u32 vcpu, const struct cleave_record *r),
	    TP_ARGS(vcpu, r),
	    TP_STRUCT__entry(__field(u32, vcpu)
			     __field(u32, kind)
			     __field(u32, exit)
			     __field(u64, rip)
			     __field(u64, raw_reason)
			     __array(u64, raw_info, 2)
			     __field(u64, detail)),
	    TP_fast_assign(__entry->vcpu = vcpu;
			   __entry->kind = r->kind;
			   __entry->exit = r->exit;
			   __entry->rip = r->rip;
			   __entry->raw_reason = r->raw_reason;
			   memcpy(__entry->raw_info, r->raw_info, sizeof(r->raw_info));
			   __entry->detail = r->detail;),
	    TP_printk("vcpu=%u kind=%u exit=%u rip=0x%llx raw_reason=0x%llx raw_info=0x%llx,0x%llx detail=0x%llx",
		      __entry->vcpu, __entry->kind, __entry->exit, __entry->rip,
		      __entry->raw_reason, __entry->raw_info[0], __entry->raw_info[1],
		      __entry->detail)
);

TRACE_EVENT(cleave_inject,
	    TP_PROTO(u32 vcpu, const struct cleave_event *ev),
	    TP_ARGS(vcpu, ev),
	    TP_STRUCT__entry(__field(u32, vcpu)
			     __field(u8, type)
			     __field(u8, vector)
			     __field(u32, error_code)),
	    TP_fast_assign(__entry->vcpu = vcpu;
			   __entry->type = ev->type;
			   __entry->vector = ev->vector;
			   __entry->error_code = ev->error_code;),
	    TP_printk("vcpu=%u type=%u vector=%u error_code=0x%x",
		      __entry->vcpu, __entry->type, __entry->vector, __entry->error_code)
);

/* What clv_mem_fault() answered: 0, or a negative errno. */
TRACE_EVENT(cleave_fault,
	    TP_PROTO(u32 vcpu, u64 gpa, u32 access, unsigned long hva, int error),
	    TP_ARGS(vcpu, gpa, access, hva, error),
	    TP_STRUCT__entry(__field(u32, vcpu)
			     __field(u32, access)
			     __field(u64, gpa)
			     __field(u64, hva)
			     __field(int, error)),
	    TP_fast_assign(__entry->vcpu = vcpu;
			   __entry->access = access;
			   __entry->gpa = gpa;
			   __entry->hva = hva;
			   __entry->error = error;),
	    TP_printk("vcpu=%u gpa=0x%llx access=%u hva=0x%llx error=%d", __entry->vcpu,
		      __entry->gpa, __entry->access, __entry->hva, __entry->error)
);

/* A range of the owner's memory, or of a slot that goes; in whoever's thread it happens. */
TRACE_EVENT(cleave_invalidate,
	    TP_PROTO(u64 gfn, u64 npages, u32 op, bool hit),
	    TP_ARGS(gfn, npages, op, hit),
	    TP_STRUCT__entry(__field(u64, gfn)
			     __field(u64, npages)
			     __field(u32, op)
			     __field(bool, hit)),
	    TP_fast_assign(__entry->gfn = gfn;
			   __entry->npages = npages;
			   __entry->op = op;
			   __entry->hit = hit;),
	    TP_printk("gfn=0x%llx npages=%llu op=%u hit=%d",
		      __entry->gfn, __entry->npages, __entry->op, __entry->hit)
);

#endif /* CLV_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
