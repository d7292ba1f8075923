/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: between the ioctl tables and the objects behind the file descriptors. */
#ifndef CLV_FDS_H
#define CLV_FDS_H

#include "clv.h"

extern const struct file_operations clv_vm_fops;
extern const struct file_operations clv_vcpu_fops;

int clv_info(struct cleave_info *info);
int clv_vcpu_mmap(struct clv_vcpu *vcpu, struct vm_area_struct *vma);
int clv_vcpu_set_state(struct clv_vcpu *vcpu, const struct cleave_state *st);
int clv_vcpu_set_cpuid(struct clv_vcpu *vcpu, const struct cleave_cpuid *c);
int clv_vcpu_get_msrs(struct clv_vcpu *vcpu, struct cleave_msrs *m);
int clv_vcpu_set_msrs(struct clv_vcpu *vcpu, struct cleave_msrs *m);

#endif /* CLV_FDS_H */
