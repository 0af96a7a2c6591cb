"""Reports as kernels of each era and architecture print them; functions and numbers are made up."""

from __future__ import annotations

I386_24 = """\
Unable to handle kernel NULL pointer dereference at virtual address 00000014
 printing eip:
c0134a7c
*pde = 00000000
Oops: 0002
CPU:    1
EIP:    0010:[<c0134a7c>]    Tainted: P
EFLAGS: 00010286
eax: 00000000   ebx: c7f6a000   ecx: 00000001   edx: c02e4680
esi: 00000014   edi: c7f6a0a8   ebp: 00000000   esp: c6a35f00
ds: 0018   es: 0018   ss: 0018
Process lpd (pid: 812, stackpage=c6a35000)
Stack: c7f6a000 c0134b10 00000000 c7f6a000 00000001 c6a35f94 bffff9a0 00000000
Call Trace:    [<c0134b10>] [<c0134d4f>] [<c0108b03>]

Code: 89 42 14 8b 43 04 85 c0 74 0b 8b 10 89 53 04 c7 40 14 00 00
"""

I386_26 = """\
Oct  2 14:52:56 gate kernel: [ 4242.100000] BUG: unable to handle kernel NULL pointer dereference \
at virtual address 00000030
Oct  2 14:52:56 gate kernel: [ 4242.100001]  printing eip:
Oct  2 14:52:56 gate kernel: [ 4242.100002] f8a1c0d3
Oct  2 14:52:56 gate kernel: [ 4242.100003] *pde = 00000000
Oct  2 14:52:56 gate kernel: [ 4242.100004] Oops: 0000 [#1]
Oct  2 14:52:56 gate kernel: [ 4242.100005] SMP
Oct  2 14:52:56 gate kernel: [ 4242.100006] Modules linked in: ipt_widget ip_tables e1000(U)
Oct  2 14:52:56 gate kernel: [ 4242.100007] CPU:    0
Oct  2 14:52:56 gate kernel: [ 4242.100008] EIP:    0060:[<f8a1c0d3>]    Tainted: P      VLI
Oct  2 14:52:56 gate kernel: [ 4242.100009] EFLAGS: 00010246   (2.6.18-6-686 #1)
Oct  2 14:52:56 gate kernel: [ 4242.100010] EIP is at widget_match+0x23/0x110 [ipt_widget]
Oct  2 14:52:56 gate kernel: [ 4242.100011] eax: 00000000   ebx: f7a5c800   ecx: 0000000e   \
edx: dfb4e020
Oct  2 14:52:56 gate kernel: [ 4242.100012] esi: f7a5c800   edi: c0391e94   ebp: 00000000   \
esp: c0391dd8
Oct  2 14:52:56 gate kernel: [ 4242.100013] ds: 007b   es: 007b   ss: 0068
Oct  2 14:52:56 gate kernel: [ 4242.100014] Process swapper (pid: 0, ti=c0390000 task=c02f8480 \
task.ti=c0390000)
Oct  2 14:52:56 gate kernel: [ 4242.100015] Stack: f8a0a1c0 00000001 c0391e94 f7a5c800 f8a0a1c0
Oct  2 14:52:56 gate kernel: [ 4242.100016]        00000000 f8a0a2c8 00000000 c0391e94 f8a0b2c4
Oct  2 14:52:56 gate kernel: [ 4242.100017] Call Trace:
Oct  2 14:52:56 gate kernel: [ 4242.100018]  [<f8a0a2c8>] ipt_do_table+0x2a8/0x320 [ip_tables]
Oct  2 14:52:56 gate kernel: [ 4242.100019]  [<c0257d4e>] nf_iterate+0x3e/0x70
Oct  2 14:52:56 gate kernel: [ 4242.100020]  [<c0120f5b>] __do_softirq+0x7b/0xf0
Oct  2 14:52:56 gate kernel: [ 4242.100021]  [<c0105e5a>] do_softirq+0x4a/0xa0
Oct  2 14:52:56 gate kernel: [ 4242.100022] Code: 8b 44 24 1c 8b 54 24 20 89 c3 8b 70 28 85 f6 \
<8b> 40 30 89 c1 0f b6 42 09
Oct  2 14:52:56 gate kernel: [ 4242.100023] EIP: [<f8a1c0d3>] widget_match+0x23/0x110 \
[ipt_widget] SS:ESP 0068:c0391dd8
Oct  2 14:52:56 gate kernel: [ 4242.100024]  <0>Kernel panic - not syncing: Fatal exception in \
interrupt
"""

I386_5 = """\
[   12.000000] BUG: kernel NULL pointer dereference, address: 00000008
[   12.000001] #PF: supervisor write access in kernel mode
[   12.000002] #PF: error_code(0x0002) - not-present page
[   12.000003] *pde = 00000000
[   12.000004] Oops: 0002 [#1] SMP
[   12.000005] CPU: 0 PID: 77 Comm: insmod Tainted: G           O      5.10.0-9-686 #1
[   12.000006] Hardware name: Some Board/Name, BIOS 1.2 01/01/2020
[   12.000007] EIP: widget_init+0x11/0x1000 [widget]
[   12.000008] Code: 55 89 e5 b8 00 00 00 00 <c7> 40 08 01 00 00 00 31 c0
[   12.000009] EAX: 00000000 EBX: f8a1d000 ECX: 00000000 EDX: 00000001
[   12.000010] ESI: 00000000 EDI: f6c3bf0c EBP: f6c3be74 ESP: f6c3be74
[   12.000011] DS: 007b ES: 007b FS: 00d8 GS: 00e0 SS: 0068 EFLAGS: 00010246
[   12.000012] CR0: 80050033 CR2: 00000008 CR3: 36c9c000 CR4: 000006d0
[   12.000013] Call Trace:
[   12.000014]  do_one_initcall+0x46/0x1c0
[   12.000015]  do_init_module+0x4b/0x1e0
[   12.000016]  ? security_kernel_post_read_file+0x38/0x50
[   12.000017]  __ia32_sys_finit_module+0x9f/0xe0
[   12.000018]  do_fast_syscall_32+0x31/0x70
[   12.000019]  entry_SYSENTER_32+0xa2/0xf8
[   12.000020] Modules linked in: widget(O+) loop [last unloaded: gadget]
[   12.000021] CR2: 0000000000000008
[   12.000022] ---[ end trace 5b7a7c3b4d2e1f00 ]---
"""

X86_64_26 = """\
Unable to handle kernel paging request at ffff81007a000010 RIP:
<ffffffff8801d0d3>{:widget:widget_rx+35}
PGD 8063 PUD 0
Oops: 0000 [1] SMP
CPU 1
Modules linked in: widget
Pid: 2214, comm: worker Not tainted 2.6.9-42.ELsmp
RIP: 0010:[<ffffffff8801d0d3>] <ffffffff8801d0d3>{:widget:widget_rx+35}
RSP: 0018:ffff81007b0afe10  EFLAGS: 00010286
RAX: ffff81007a000000 RBX: ffff81007b0afe58 RCX: 0000000000000001
Process worker (pid: 2214, threadinfo ffff81007b0ae000, task ffff81007c5f8030)
Stack: ffff81007b0afe58 ffff81007b0afe58
Call Trace:<ffffffff8801e123>{:widget:widget_poll+291} <ffffffff8013a1b2>{net_rx_action+178}
       <ffffffff8010f3ab>{child_rip+8}

Code: 48 8b 40 10 48 85 c0 74
"""

X86_64_EL6 = """\
BUG: unable to handle kernel paging request at 0000000100000018
IP: [<ffffffffa01230d3>] widget_put+0x23/0x80 [widget]
PGD 0
Oops: 0002 [#1] SMP
last sysfs file: /sys/devices/system/cpu/cpu3/cache/index2/shared_cpu_map
CPU 3
Modules linked in: widget(U) nfs lockd [last unloaded: scsi_wait_scan]

Pid: 4711, comm: long-name-of-a- Tainted: P           ---------------    2.6.32-431.el6.x86_64 #1 \
Some Vendor Board
RIP: 0010:[<ffffffffa01230d3>]  [<ffffffffa01230d3>] widget_put+0x23/0x80 [widget]
RSP: 0018:ffff8801f7a1bd88  EFLAGS: 00010202
RAX: 0000000100000000 RBX: ffff8801f7a1bdc8 RCX: 0000000000000001
RDX: 0000000000000001 RSI: 0000000000000000 RDI: ffff8801f8b5c540
CR2: 0000000100000018 CR3: 00000001f7b0e000 CR4: 00000000000006e0
Process long-name-of-a- (pid: 4711, threadinfo ffff8801f7a1a000, task ffff8801f6e9c040)
Stack:
 ffff8801f7a1bdc8 ffffffffa0123200 ffff8801f7a1bdc8 ffff8801f8b5c540
<d> 0000000000000000 ffff8801f8b5c540 ffff8801f7a1bde8 ffffffff8117b2c0
Call Trace:
 [<ffffffffa0123200>] widget_release+0x30/0x50 [widget]
 [<ffffffff8117b2c0>] ? __fput+0xf5/0x210
 [<ffffffff8100b072>] system_call_fastpath+0x16/0x1b
Code: c3 48 8b 47 18 <f0> ff 48 18 0f 94 c0
RIP  [<ffffffffa01230d3>] widget_put+0x23/0x80 [widget]
 RSP <ffff8801f7a1bd88>
CR2: 0000000100000018
"""

X86_64_612 = """\
[   77.000000] Oops: general protection fault, probably for non-canonical address \
0xdead000000000128: 0000 [#1] PREEMPT SMP NOPTI
[   77.000001] CPU: 3 UID: 33 PID: 901 Comm: php fpm Kdump: loaded Tainted: G           OE      \
6.12.0-lab+deb13 #1
[   77.000002] Tainted: [O]=OOT_MODULE, [E]=UNSIGNED_MODULE
[   77.000003] Hardware name: QEMU Standard PC (Q35 + ICH9, 2009), BIOS 1.16.3 04/01/2014
[   77.000004] RIP: 0010:widget_walk+0x1b/0x60 [widget]
[   77.000005] Code: Unable to access opcode bytes at 0xffffffffc0a1c0f1.
[   77.000006] RSP: 0018:ffffb3c5407abd48 EFLAGS: 00010282
[   77.000007] RAX: dead000000000100 RBX: ffff9d3c04b3e800 RCX: 0000000000000000
[   77.000008] FS:  00007f3c5a2a1740(0000) GS:ffff9d3c3fd80000(0000) knlGS:0000000000000000
[   77.000009] CS:  0010 DS: 0000 ES: 0000 CR0: 0000000080050033
[   77.000010] CR2: 00007f3c59a15000 CR3: 0000000104b5a000 CR4: 00000000000006f0
[   77.000011] Call Trace:
[   77.000012]  <IRQ>
[   77.000013]  ? die_addr+0x36/0x90
[   77.000014]  widget_irq+0x25/0x40 [widget]
[   77.000015]  __handle_irq_event_percpu+0x4a/0x180
[   77.000016]  __common_interrupt+0x3e/0xa0
[   77.000017]  common_interrupt+0x80/0xa0
[   77.000018]  </IRQ>
[   77.000019]  <TASK>
[   77.000020]  asm_common_interrupt+0x26/0x40
[   77.000021] RIP: 0033:0x5601d2c0a1b0
[   77.000022]  </TASK>
[   77.000023] Modules linked in: widget(OE) nf_tables
[   77.000024] ---[ end trace 0000000000000000 ]---
"""

ARM_26 = """\
Unable to handle kernel NULL pointer dereference at virtual address 00000009
pgd = c7a34000
[00000009] *pgd=87a33031, *pte=00000000, *ppte=00000000
Internal error: Oops: 817 [#1] PREEMPT
Modules linked in: widget
CPU: 0    Not tainted  (2.6.32.9 #3)
PC is at widget_ioctl+0x1c/0x90 [widget]
LR is at vfs_ioctl+0x2c/0xa0
pc : [<bf00001c>]    lr : [<c00b5d50>]    psr: 60000013
sp : c7b3bf30  ip : 00000001  fp : c7b3bf44
r10: 00000000  r9 : c7b3a000  r8 : c0024fe4
r7 : 00000003  r6 : bec3fb1c  r5 : c7a0d4e0  r4 : 00000000
Flags: nZCv  IRQs on  FIQs on  Mode SVC_32  ISA ARM  Segment user
Control: 0005317f  Table: 87a34000  DAC: 00000015
Process tool (pid: 301, stack limit = 0xc7b3a268)
Stack: (0xc7b3bf30 to 0xc7b3c000)
bf20:                                     c7a0d4e0 c7b3bf6c c7b3bf48 c00b5d50
[<bf00001c>] (widget_ioctl+0x1c/0x90 [widget]) from [<c00b5d50>] (vfs_ioctl+0x2c/0xa0)
[<c00b5d50>] (vfs_ioctl+0x2c/0xa0) from [<c00b6440>] (do_vfs_ioctl+0x560/0x5a8)
[<c00b6440>] (do_vfs_ioctl+0x560/0x5a8) from [<c0024e60>] (ret_fast_syscall+0x0/0x28)
Code: e92d4010 e5912000 e3a03001 (e5843009)
---[ end trace 1b75b31a2719ed1c ]---
"""

ARM_6 = """\
[   50.000000] 8<--- cut here ---
[   50.000001] Unable to handle kernel paging request at virtual address 5a5a5a5a when read
[   50.000002] [5a5a5a5a] *pgd=00000000
[   50.000003] Internal error: Oops: 5 [#1] SMP ARM
[   50.000004] Modules linked in: widget
[   50.000005] CPU: 2 PID: 55 Comm: irq/40-widget Not tainted 6.6.30 #1
[   50.000006] Hardware name: Generic DT based system
[   50.000007] PC is at widget_thread+0x10/0x40 [widget]
[   50.000008] LR is at irq_thread_fn+0x1c/0x78
[   50.000009] pc : [<bf0a2010>]    lr : [<c0189e0c>]    psr: 600b0013
[   50.000010] sp : f0951f50  ip : 00000000  fp : c4a2e800
[   50.000011]  widget_thread [widget] from irq_thread_fn+0x1c/0x78
[   50.000012]  irq_thread_fn from irq_thread+0x11c/0x1f0
[   50.000013]  irq_thread from kthread+0xe4/0x104
[   50.000014]  kthread from ret_from_fork+0x14/0x28
[   50.000015] Code: e52de004 e8bd4000 e5903000 (e5930000)
[   50.000016] ---[ end trace 0000000000000000 ]---
"""

ARM64_5 = """\
[  601.000000][  T901] Unable to handle kernel NULL pointer dereference at virtual address \
000000000000001c
[  601.000001][  T901] Mem abort info:
[  601.000002][  T901]   ESR = 0x96000046
[  601.000003][  T901]   EC = 0x25: DABT (current EL), IL = 32 bits
[  601.000004][  T901]   SET = 0, FnV = 0
[  601.000005][  T901]   EA = 0, S1PTW = 0
[  601.000006][  T901] Data abort info:
[  601.000007][  T901]   ISV = 0, ISS = 0x00000046
[  601.000008][  T901]   CM = 0, WnR = 1
[  601.000009][  T901] user pgtable: 4k pages, 48-bit VAs, pgdp=0000000045a1b000
[  601.000010][   T17] eth0: link is up
[  601.000011][  T901] [000000000000001c] pgd=0000000000000000, p4d=0000000000000000
[  601.000012][  T901] Internal error: Oops: 96000046 [#1] SMP
[  601.000013][  T901] Modules linked in: widget(O) nf_tables
[  601.000014][  T901] CPU: 3 PID: 901 Comm: nft Tainted: G           O      5.10.100 #0
[  601.000015][  T901] Hardware name: Some Router (DT)
[  601.000016][  T901] pstate: 60000005 (nZCv daif -PAN -UAO -TCO BTYPE=--)
[  601.000017][  T901] pc : widget_flush+0x48/0xc0 [widget]
[  601.000018][  T901] lr : widget_flush+0x30/0xc0 [widget]
[  601.000019][  T901] sp : ffffffc0123f3a10
[  601.000020][  T901] x29: ffffffc0123f3a10 x28: ffffff8005a1b000
[  601.000021][  T901] x1 : 0000000000000000 x0 : 000000000000001c
[  601.000022][  T901] Call trace:
[  601.000023][  T901]  widget_flush+0x48/0xc0 [widget]
[  601.000024][  T901]  nf_tables_commit+0x8d0/0x1180 [nf_tables]
[  601.000025][  T901]  __sys_sendmsg+0x80/0xd0
[  601.000026][  T901]  el0_svc_common.constprop.0+0x78/0x1a0
[  601.000027][  T901]  el0_sync+0x174/0x180
[  601.000028][  T901] Code: 910003fd f9000bf3 aa0003f3 52800020 (b9001c20)
[  601.000029][  T901] ---[ end trace 9fc1d25bf5ad2f18 ]---
"""

POWERPC = """\
[  100.000000] BUG: Kernel NULL pointer dereference on read at 0x00000018
[  100.000001] Faulting instruction address: 0xc00800000a1c00d4
[  100.000002] Oops: Kernel access of bad area, sig: 11 [#1]
[  100.000003] LE PAGE_SIZE=64K MMU=Radix SMP NR_CPUS=2048 NUMA pSeries
[  100.000004] Modules linked in: widget(E)
[  100.000005] CPU: 8 PID: 1234 Comm: tool Tainted: G            E      5.14.0 #1
[  100.000006] NIP:  c00800000a1c00d4 LR: c00800000a1c00b0 CTR: c000000000b2a1c0
[  100.000007] REGS: c00000000b5a7830 TRAP: 0300   Tainted: G            E       (5.14.0)
[  100.000008] MSR:  800000000280b033 <SF,VEC,VSX,EE,FP,ME,IR,DR,RI,LE>  CR: 24002482  XER: 20000000
[  100.000009] CFAR: c00800000a1c00ac DAR: 0000000000000018 DSISR: 40000000 IRQMASK: 0
[  100.000010] GPR00: c00800000a1c00b0 c00000000b5a7ad0 c00800000a1e8400 0000000000000000
[  100.000011] GPR04: c0000000045e2c00 0000000000000001 0000000000000000 000000000000000a
[  100.000012] NIP [c00800000a1c00d4] widget_read+0x54/0x120 [widget]
[  100.000013] LR [c00800000a1c00b0] widget_read+0x30/0x120 [widget]
[  100.000014] Call Trace:
[  100.000015] [c00000000b5a7ad0] [c00000000b5a7b10] 0xc00000000b5a7b10 (unreliable)
[  100.000016] [c00000000b5a7b10] [c0000000005a1e40] vfs_read+0xe0/0x2b0
[  100.000017] [c00000000b5a7b60] [c0000000005a2270] ksys_read+0x80/0x150
[  100.000018] [c00000000b5a7bb0] [c00000000000c1ec] system_call_common+0xec/0x278
[  100.000019] Instruction dump:
[  100.000020] 7c0802a6 fbe1fff8 f8010010 f821ffc1 7c7f1b78 48000001 60000000 2c230000
[  100.000021] 41820010 e87f0000 38210040 4e800020 <e9230018> 7d234b78 4e800020 60000000
[  100.000022] ---[ end trace 0000000000000000 ]---
"""

S390 = """\
Unable to handle kernel pointer dereference in virtual kernel address space
Failing address: 0000000000000000 TEID: 0000000000000483
Fault in home space mode while using kernel ASCE.
AS:0000000001b4c007 R3:0000000000000024
Oops: 0004 ilc:3 [#1] SMP
Modules linked in: widget(O)
CPU: 1 PID: 860 Comm: insmod Tainted: G           O      5.14.0 #1
Hardware name: IBM 2964 NE1 749 (LPAR)
Krnl PSW : 0704c00180000000 000003ff8012a01a (widget_start+0x1a/0x1000 [widget])
           R:0 T:1 IO:1 EX:1 Key:0 M:1 W:0 P:0 AS:3 CC:0 PM:0 RI:0 EA:3
Krnl GPRS: 0000000000000001 0000000000000000 0000000000000013 00000000fffffffa
           0000000000000001 0000000000000027 000003ff8012a000 0000000000000000
Krnl Code: 000003ff8012a00a: a7f1fe00           tmll    %r15,65024
          #000003ff8012a014: c0200000ffa0       larl    %r2,000003ff80149f54
          >000003ff8012a01a: e31010000024       stg     %r1,0(%r1)
Call Trace:
 [<000003ff8012a01a>] widget_start+0x1a/0x1000 [widget]
 [<0000000000a7c1de>] do_one_initcall+0x6e/0x2d0
([<0000000000a7c1aa>] do_one_initcall+0x3a/0x2d0)
 [<0000000000b9e3a2>] system_call+0x82/0xb0
Last Breaking-Event-Address:
 [<0000000000a7c1d8>] do_one_initcall+0x68/0x2d0
Kernel panic - not syncing: Fatal exception: panic_on_oops
"""

RISCV = """\
[   20.000000] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010
[   20.000001] Oops [#1]
[   20.000002] Modules linked in: widget
[   20.000003] CPU: 0 PID: 1 Comm: init Not tainted 6.1.0 #1
[   20.000004] Hardware name: riscv-virtio,qemu (DT)
[   20.000005] epc : widget_open+0x1a/0x40 [widget]
[   20.000006]  ra : chrdev_open+0xa8/0x1c0
[   20.000007] epc : ffffffff0161a01a ra : ffffffff8017a2b4 sp : ff2000000000bc30
[   20.000008]  gp : ffffffff81500a20 tp : ff60000001190000 t0 : 0000000000000000
[   20.000009]  s2 : 0000000000040000 a0 : 0000000000000000 s11: 0000000000000001
[   20.000010] status: 0000000200000120 badaddr: 0000000000000010 cause: 000000000000000d
[   20.000011] [<ffffffff0161a01a>] widget_open+0x1a/0x40 [widget]
[   20.000012] [<ffffffff8017a2b4>] chrdev_open+0xa8/0x1c0
[   20.000013] [<ffffffff80003ee6>] ret_from_exception+0x0/0x64
[   20.000014] Code: 1141 e422 0800 (6908) 60a2
[   20.000015] ---[ end trace 0000000000000000 ]---
"""

MIPS = """\
CPU 0 Unable to handle kernel paging request at virtual address 00000004, epc == 80a1c0d0, \
ra == 80a1c0b0
Oops[#1]:
CPU: 0 PID: 12 Comm: kworker/0:1 Not tainted 4.14.90 #0
$ 0   : 00000000 00000001 00000000 00000004
$ 4   : 87c5a000 00000000 00000000 00000001
Hi    : 00000000
Lo    : 00000400
epc   : 80a1c0d0 widget_work+0x20/0x60 [widget]
ra    : 80a1c0b0 widget_work+0x0/0x60 [widget]
Status: 1100fc03        KERNEL EXL IE
Cause : 00800008 (ExcCode 02)
BadVA : 00000004
PrId  : 00019650 (MIPS 24KEc)
Modules linked in: widget
Process kworker/0:1 (pid: 12, threadinfo=87c48000, task=87c3a6c0, tls=00000000)
Stack : 87c5a000 00000000 80430000 80037a44
Call Trace:
[<80a1c0d0>] widget_work+0x20/0x60 [widget]
[<80037a44>] process_one_work+0x1d0/0x2f0
[<80005478>] ret_from_kernel_thread+0x14/0x1c
Code: 27bdffe0  afbf001c  8c820000 <8c430004> 10600003
"""

CRASH_BT = """\
      KERNEL: vmlinux
PID: 5027   TASK: ffff893cad135280  CPU: 1   COMMAND: "worker two"
 #0 [ffff893c4f5274b8] machine_kexec at ffffffff9fa65b34
 #1 [ffff893c4f527518] __crash_kexec at ffffffff9fb22f62
 #7 [ffff893c4f527760] page_fault at ffffffffa0190778
    [exception RIP: widget_send+45]
    RIP: ffffffffc086077d  RSP: ffff893c4f527810  RFLAGS: 00010246
    RAX: 0000000000000000  RBX: ffff893ca41e5140  RCX: ffffffffa035de80
    R10: 0000000000000001  R08: 0000000000000002  R09: ffff893ca41e5178
    ORIG_RAX: ffffffffffffffff  CS: 0010  SS: 0018
 #8 [ffff893c4f527810] widget_send at ffffffffc086077d [widget]
 #9 [ffff893c4f527858] ipv4_confirm at ffffffffc08372ce [nf_conntrack_ipv4]
#10 [ffff893c4f527878] nf_iterate at ffffffff9fc94e38
    RIP: 00007f1a2b3c4d5e  RSP: 00007ffe12345678  RFLAGS: 00000246
    CS: 0033  SS: 002b
"""
