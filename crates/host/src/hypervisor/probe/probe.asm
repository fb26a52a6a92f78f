; Finds out whether an accelerator can run a guest. KVM that is there but cannot do the work of a kernel (nested without
; hardware, say) is worse than none, so the question is answered by running the things a kernel needs.
;
; QEMU runs this as its firmware (-bios) and it answers by isa-debug-exit at port 0xf4:
;
;   exit status 99                     all passed
;   131, 133, 135, 137, 139            what failed: the page table edit, the exception, rings, SSE2, the loop
;   anything else, or no end in time   the accelerator cannot run it; an accelerator that emulates each instruction
;                                      is too slow for the loop at the end, and that is what the loop is for
;
; The ROM is 65536 bytes. probe.bin holds only its beginning, as assembled from this file, so whoever uses it makes
;
;   offset 0        the bytes of probe.bin
;   up to 0xfff0    zeros
;   offset 0xfff0   EA 00 00 00 F0, which is `jmp 0xf000:0x0000` (the reset vector)
;   up to 0x10000   zeros
;
; scripts/assemble-probe.sh makes probe.bin anew; with --check it compares.

        org     0
LOAD    equ     0x8000                  ; the code copies itself to memory, to be writable and below 1 MiB
PML4    equ     0x1000
PDPT    equ     0x2000
PD      equ     0x3000
IDT     equ     0x5000
SCRATCH equ     0x6000                  ; memory written through the page tables
STACK   equ     0x7ff0
ALIAS   equ     0x200000                ; second 2 MiB of addresses
; segments, as the table at the end has them
CODE32  equ     0x08
DATA    equ     0x10
CODE64  equ     0x18                    ; syscall wants a data segment of ring 0 right after it
USER    equ     0x23                    ; sysret: data of ring 3 at USER + 8, code at USER + 16
PORT    equ     0xf4
PASS    equ     (99 - 1) / 2            ; QEMU exits with (value << 1) | 1
ROUNDS  equ     1000                    ; ring 3 and back
SPINS   equ     20000000

%define at(label) (LOAD + label)

        bits    16
start:
        cli
        cld
        mov     ax, cs
        mov     ds, ax
        xor     ax, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, STACK
        xor     si, si
        mov     di, LOAD
        mov     cx, finish
        rep     movsb
        jmp     0:at(in_memory)

in_memory:
        mov     ds, ax
        in      al, 0x92                ; A20, without touching the reset bit
        or      al, 2
        and     al, 0xfe
        out     0x92, al
        lgdt    [at(gdt_pointer)]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     dword CODE32:at(protected)

        bits    32
protected:
        mov     ax, DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK
        mov     edi, PML4               ; all tables up to SCRATCH and its page
        mov     ecx, (STACK - 0x10 - PML4) / 4
        xor     eax, eax
        rep     stosd
        mov     dword [PML4], PDPT | 7
        mov     dword [PDPT], PD | 7
        mov     dword [PD], 0x87        ; 0..2 MiB as they are, for all rings
        mov     dword [PD + 8], 0x87    ; ALIAS shows the same memory, for now
        mov     eax, PML4
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x620              ; PAE, OSFXSR, OSXMMEXCPT
        mov     cr4, eax
        mov     ecx, 0xc0000080         ; EFER: long mode and syscall
        rdmsr
        or      eax, 0x101
        wrmsr
        mov     eax, cr0
        and     eax, ~0x4               ; no emulated coprocessor
        or      eax, 0x80000002         ; paging, MP
        mov     cr0, eax
        jmp     dword CODE64:at(long_mode)

        bits    64
long_mode:
        mov     eax, DATA
        mov     ds, eax
        mov     es, eax
        mov     ss, eax

; A changed page table counts after invlpg.
        mov     bl, 65
        mov     dword [SCRATCH], 0x600d
        cmp     dword [ALIAS + SCRATCH], 0x600d
        jne     failed
        mov     dword [PD + 8], ALIAS | 0x87
        invlpg  [ALIAS + SCRATCH]
        mov     dword [ALIAS + SCRATCH], 0xbad
        cmp     dword [SCRATCH], 0x600d
        jne     failed

; An invalid instruction arrives at its handler, which steps over it.
        mov     bl, 66
        mov     dword [IDT + 6 * 16], (CODE64 << 16) + at(invalid)
        mov     dword [IDT + 6 * 16 + 4], 0x8e00
        lidt    [at(idt_pointer)]
        xor     edx, edx
        ud2
        cmp     edx, 0x0d15ea5e
        jne     failed

; Ring 3 and back, by sysret and syscall.
        mov     bl, 67
        mov     ecx, 0xc0000081         ; STAR: segments of both rings
        xor     eax, eax
        mov     edx, (USER << 16) | CODE64
        wrmsr
        mov     ecx, 0xc0000082         ; LSTAR: where syscall goes
        mov     eax, at(from_user)
        xor     edx, edx
        wrmsr
        mov     ecx, 0xc0000084         ; FMASK: interrupts stay off
        mov     eax, 0x200
        wrmsr
        xor     ebp, ebp
        mov     r9d, ROUNDS
next_round:
        mov     ecx, at(user)
        mov     r11d, 2
        o64 sysret
user:
        mov     r8d, cs
        and     r8d, 3                  ; the ring this runs in
        add     ebp, r8d
        syscall
from_user:
        dec     r9d
        jnz     next_round
        mov     eax, DATA
        mov     ss, eax
        cmp     ebp, 3 * ROUNDS
        jne     failed

; SSE2
        mov     bl, 68
        mov     eax, 7
        movd    xmm0, eax
        paddd   xmm0, xmm0
        pmuludq xmm0, xmm0
        movd    eax, xmm0
        cmp     eax, 196
        jne     failed

; Speed: some hundredth of a second where instructions run, half a minute where each is emulated.
        mov     bl, 69
        mov     ecx, SPINS
        xor     eax, eax
spin:
        add     rax, rcx
        dec     ecx
        jnz     spin
        mov     rcx, SPINS * (SPINS + 1) / 2
        cmp     rax, rcx
        jne     failed
        mov     bl, PASS
failed:
        mov     al, bl
        out     PORT, al
stop:
        hlt
        jmp     stop

invalid:
        mov     edx, 0x0d15ea5e
        add     qword [rsp], 2          ; past the ud2
        iretq

        align   8
gdt:
        dq      0
        dq      0x00cf9b000000ffff
        dq      0x00cf93000000ffff
        dq      0x00af9b000000ffff
        dq      0x00cf93000000ffff
        dq      0x00cff3000000ffff
        dq      0x00affb000000ffff
gdt_pointer:
        dw      $ - gdt - 1
        dd      at(gdt)
idt_pointer:
        dw      16 * 32 - 1
        dq      IDT
finish:
