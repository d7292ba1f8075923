libcleave/alu.o: libcleave/alu.c libcleave/insn.h libcleave/libcleave.h \
 ../uapi/linux/cleave.h libcleave/x86.h
libcleave/insn.h:
libcleave/libcleave.h:
../uapi/linux/cleave.h:
libcleave/x86.h:
