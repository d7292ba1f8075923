libcleave/api.o: libcleave/api.c libcleave/libcleave.h \
 ../uapi/linux/cleave.h
libcleave/libcleave.h:
../uapi/linux/cleave.h:
