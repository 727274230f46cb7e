/*
 * PVH entry: 32-bit flat protected mode, paging off, interrupts off, start info in ebx
 * (xen/include/public/arch-x86/hvm/start_info.h).
 */
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define LIGHTVM_ELFNOTE_DEVICE_PAGE 1

        .section .note.xen, "a", @note
        .align 4
        .long 4, 4, XEN_ELFNOTE_PHYS32_ENTRY
        .asciz "Xen"
        .long _start

        .section .note.lightvm, "a", @note
        .align 4
        .long 8, 4, LIGHTVM_ELFNOTE_DEVICE_PAGE
        .asciz "LightVM"
        .long 1                         /* highest device page version understood */

        .section .text.start, "ax", @progbits
        .globl _start
_start:
        movl    $stack_top, %esp
        pushl   %ebx
        call    lightvm_start
        ud2

        .bss
        .align 16
        .skip 8192
stack_top:

        .section .bss.hypercall, "aw", @nobits
        .align 4096
        .globl hypercall_page
hypercall_page:
        .skip 4096

        .section .note.GNU-stack, "", @progbits
