libcleave/walk.o: libcleave/walk.c libcleave/libcleave.h \
 ../uapi/linux/cleave.h libcleave/x86.h
libcleave/libcleave.h:
../uapi/linux/cleave.h:
libcleave/x86.h:
