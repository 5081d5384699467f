// runtime.cpp -- run time of the CUDA-on-CPU test emulator. Compiled WITHOUT instrumentation.
// One fiber per CUDA thread; a fiber runs until it blocks (barrier, warp collective, yield) or ends.
#include "cuda.h"
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>
#include <link.h>
#include <sys/mman.h>
#include <ucontext.h>

extern "C" { extern char __start_emu_smem[] __attribute__((weak)); extern char __stop_emu_smem[] __attribute__((weak)); }

namespace emu {
uint3 tid_, bid_; dim3 bdim_, gdim_;
enum State : uint8_t { READY, BLOCKED_BAR, BLOCKED_WARP, BLOCKED_WG, DONE };
constexpr size_t STACK = 64 << 10;
struct Copy { char* dst; const char* src; int bytes, src_bytes; int group; bool eager; void* pc; };
struct Block; struct Warp;
struct Thread {
  void* sp = nullptr; char* stack = nullptr; Block* b; Warp* w; uint3 tid; unsigned lin, lane; State st;
  int line, kind; unsigned mask; bool yielded = false; unsigned wg_ops = 0; int open_group = 0, n_commit = 0; std::vector<Copy> q;
};
struct Warp { unsigned arrived = 0; unsigned in[32][12]; unsigned out[32][4]; unsigned epoch = 1; };
struct WgOp { float* d[128]; int n; uint64_t a, b; int scale, group, line; unsigned count; };
struct Wg { std::vector<WgOp> q; unsigned first = 0; int commits = 0; unsigned commit_calls = 0, waiting = 0; };
struct Block { std::vector<Wg> wg; std::vector<uint32_t> seen; uint3 id; std::vector<Thread*> t; std::vector<Warp> w; char* smem; unsigned done = 0, waiting = 0; unsigned epoch = 1; };

static void *main_sp; static Thread* cur; static std::mt19937_64 rng; static uint64_t seed_;
static void (*body_)(void*); static void* ctx_; static size_t smem_bytes; static bool coop;
static std::string err; static bool failed; static sigjmp_buf on_fault; static volatile bool in_kernel;
static std::vector<char*> stacks; static uint64_t n_switch, n_coll;
static unsigned launch_id = 0;

// ---------------------------------------------------------------- context switch
#ifdef EMU_UCONTEXT
static ucontext_t main_uc; static std::unordered_map<Thread*, ucontext_t> ucs;
static void to_fiber(Thread* t) { swapcontext(&main_uc, &ucs[t]); }
static void to_main(Thread* t) { swapcontext(&ucs[t], &main_uc); }
#else
extern "C" void emu_switch(void** save, void* to);
#if defined(__x86_64__)
asm(R"(.text
.globl emu_switch
.type emu_switch,@function
emu_switch:
 pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
 movq %rsp,(%rdi); movq %rsi,%rsp
 popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
 ret)");
#else
#error "build with -DEMU_UCONTEXT on this machine"
#endif
static void to_fiber(Thread* t) { emu_switch(&main_sp, t->sp); }
static void to_main(Thread* t) { emu_switch(&t->sp, main_sp); }
#endif
static void trampoline() { Thread* t = cur; body_(ctx_); t->st = DONE; t->b->done++; to_main(t); abort(); }
static void prepare(Thread* t) {
#ifdef EMU_UCONTEXT
  ucontext_t& u = ucs[t]; getcontext(&u); u.uc_stack.ss_sp = t->stack; u.uc_stack.ss_size = STACK; u.uc_link = nullptr; makecontext(&u, trampoline, 0);
#else
  void** p = (void**)(t->stack + STACK); *--p = nullptr; *--p = (void*)trampoline; for (int i = 0; i < 6; i++) *--p = nullptr; t->sp = p;
#endif
}
static void failf(const char* f, ...) {
  if (!failed) { char b[512]; va_list a; va_start(a, f); vsnprintf(b, sizeof b, f, a); va_end(a); err = b; if (cur) { snprintf(b, sizeof b, " [block (%u,%u,%u) thread (%u,%u,%u)]", cur->b->id.x, cur->b->id.y, cur->b->id.z, cur->tid.x, cur->tid.y, cur->tid.z); err += b; } }
  failed = true; if (cur) { Thread* t = cur; t->st = DONE; to_main(t); }
}
static void on_segv(int sig, siginfo_t* si, void* u) {
  if (!in_kernel) { ::signal(sig, SIG_DFL); return; }
  void* pc = nullptr;
#ifdef __x86_64__
  pc = (void*)(((ucontext_t*)u)->uc_mcontext.gregs[REG_RIP] + 1);
#endif
  char b[256]; snprintf(b, sizeof b, sig == SIGILL ? "undefined behaviour (index, alignment, shift, overflow) %.0s at pc %p [block" "(%u,%u,%u) thread (%u,%u,%u)]" : "invalid memory access at %p (guard page or wild pointer) at pc %p [block (%u,%u,%u) thread (%u,%u,%u)]", (char*)si->si_addr, pc, cur->b->id.x, cur->b->id.y, cur->b->id.z, cur->tid.x, cur->tid.y, cur->tid.z);
  err = b; failed = true; siglongjmp(on_fault, 1);
}
// ---------------------------------------------------------------- device primitives
void yield() { Thread* t = cur; t->yielded = true; to_main(t); }
unsigned lane() { return cur->lane; }
#ifdef EMU_CHECK
static void access(const void* p, int n, bool w, void* pc, bool atomic = false); static void in_flight(void* p, int n);
#define ACCESS(...) access(__VA_ARGS__)
#else
#define ACCESS(...) (void)0
static inline void in_flight(void*, int) {}
#endif
static void land(Thread* t, int keep) {          // finish all copies of groups older than the newest `keep`
  int last = t->n_commit - keep; size_t k = 0;
  for (auto& c : t->q) {
    if (c.group >= last) { t->q[k++] = c; continue; }
    if (!c.eager) { memcpy(c.dst, c.src, c.src_bytes); memset(c.dst + c.src_bytes, 0, c.bytes - c.src_bytes); }
    ACCESS(c.dst, c.bytes, true, c.pc);                 // to the checker the write happens at the wait, by this thread
  }
  t->q.resize(k);
}
void cp_async(void* s, const void* g, int bytes, int src) {
  Thread* t = cur; 
  if (((uintptr_t)s & (bytes - 1)) || (src && ((uintptr_t)g & (bytes - 1)))) return failf("cp.async: address not %d-byte aligned", bytes);
  if (src) ACCESS(g, src, false, __builtin_return_address(0));
  ACCESS(s, bytes, true, __builtin_return_address(0));
  bool eager = seed_ && (rng() & 1);                    // adversarial: a copy may land at once or only at the wait
  if (eager) { memcpy(s, g, src); memset((char*)s + src, 0, bytes - src); } else memset(s, 0xFF, bytes);
  t->q.push_back({(char*)s, (const char*)g, bytes, src, t->n_commit, eager, __builtin_return_address(0)}); in_flight(s, bytes);
}
void cp_commit() { cur->n_commit++; }
void cp_wait(int left) { land(cur, left); }
void* shared(size_t bytes) { if (bytes > smem_bytes) failf("kernel needs %zu bytes of dynamic shared memory, launched with %zu", bytes, smem_bytes); return cur->b->smem; }
static uint32_t fence_clock;
void fence() { fence_clock++; }
void barrier(int line) { Thread* t = cur; t->line = line; t->st = BLOCKED_BAR; t->b->waiting++; to_main(t); }
// inter-block hand-off. A counter keeps the clock after each signal; wait_ge(c, n) learns only what the first n published.
static std::unordered_map<void*, std::vector<std::vector<uint32_t>>> clocks;
static void join(std::vector<uint32_t>& a, const std::vector<uint32_t>& b) { if (a.size() < b.size()) a.resize(b.size()); for (size_t i = 0; i < b.size(); i++) a[i] = std::max(a[i], b[i]); }
static unsigned block_no(const Block* b) { return b->id.x + gdim_.x * (b->id.y + gdim_.y * b->id.z); }
void signal(unsigned* c) { Block* b = cur->b; auto& h = clocks[c]; std::vector<uint32_t> k = h.empty() ? std::vector<uint32_t>() : h.back(); join(k, b->seen); unsigned i = block_no(b); if (k.size() <= i) k.resize(i + 1); k[i] = std::max(k[i], b->epoch); h.push_back(k); ++*c; }
bool reached(unsigned* c, unsigned n) { if (*c < n) return false; auto& h = clocks[c]; if (n && !h.empty()) join(cur->b->seen, h[std::min<size_t>(n, h.size()) - 1]); return true; }
// warpgroup matrix multiply: queued at issue, carried out at the wait (latest moment the hardware may read shared memory)
uint64_t smem_desc(const void* p) { size_t o = (const char*)p - cur->b->smem; if (o & 15 || o >= smem_bytes) failf("wgmma descriptor: bad shared address"); return (o >> 4) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
void wgmma(float* d, int n, uint64_t a, uint64_t b, int scale, int line) {
  Thread* t = cur; Wg& g = t->b->wg[t->lin / 128]; unsigned k = t->wg_ops++ - g.first; if (g.q.size() <= k) g.q.push_back({{}, n, a, b, scale, g.commits, line, 0});
  WgOp& o = g.q[k]; if (o.a != a || o.b != b || o.line != line) return failf("wgmma at line %d: threads of the warpgroup disagree", line);
  o.d[t->lin % 128] = d; o.count++; for (int i = 0; i < n / 2; i++) if (!scale) d[i] = NAN; }
void wgmma_commit() { Thread* t = cur; Wg& g = t->b->wg[t->lin / 128]; if (++g.commit_calls % 128 == 0) g.commits++; }
static void wg_run(Block* b, WgOp& o) {
  static float A[64][16], B[256][16]; auto load = [&](uint64_t desc, int rows, float (*out)[16]) { size_t start = (desc & 0x3FFF) << 4, sbo = (desc >> 32 & 0x3FFF) << 4;
    for (int r = 0; r < rows; r++) for (int k = 0; k < 16; k++) { size_t x = start + r / 8 * sbo + r % 8 * 128 + k * 2; x ^= (x >> 7 & 7) << 4; if (x + 2 > smem_bytes) { failf("wgmma at line %d reads past shared memory", o.line); return; } ACCESS(b->smem + x, 2, false, nullptr); _Float16 h; memcpy(&h, b->smem + x, 2); out[r][k] = (float)h; } };
  load(o.a, 64, A); load(o.b, o.n, B);
  for (int t = 0; t < 128; t++) { int w = t / 32, l = t % 32; for (int j = 0; j < o.n / 8; j++) for (int e = 0; e < 4; e++) { int m = 16 * w + l / 4 + 8 * (e / 2), c = 8 * j + l % 4 * 2 + e % 2; float s = o.scale ? o.d[t][4 * j + e] : 0.f; for (int k = 0; k < 16; k++) s += A[m][k] * B[c][k]; o.d[t][4 * j + e] = s; } } }
void wgmma_wait(int left, int line) {
  Thread* t = cur; Wg& g = t->b->wg[t->lin / 128]; t->line = line;
  if (++g.waiting < 128) { t->st = BLOCKED_WG; to_main(t); return; }
  g.waiting = 0; size_t k = 0; for (; k < g.q.size() && g.q[k].group < g.commits - left; k++) { if (g.q[k].count != 128) return failf("wgmma at line %d issued by %u of 128 threads", g.q[k].line, g.q[k].count); wg_run(t->b, g.q[k]); if (failed) return; }
  g.q.erase(g.q.begin(), g.q.begin() + k); g.first += k; unsigned base = t->lin / 128 * 128; for (unsigned i = base; i < base + 128; i++) if (t->b->t[i]->st == BLOCKED_WG) t->b->t[i]->st = READY; }

template <class F> static void collective(unsigned mask, int kind, int line, F f) {
  Thread* t = cur; Warp& w = *t->w; n_coll++;
  if (!(mask >> t->lane & 1)) return failf("line %d: calling lane %u is not in its own mask %08x", line, t->lane, mask);
  t->kind = kind; t->mask = mask; t->line = line; w.arrived |= 1u << t->lane;
  if ((w.arrived & mask) == mask) {
    Thread** base = &t->b->t[t->lin - t->lane];
    unsigned n = std::min<unsigned>(32, t->b->t.size() - (t->lin - t->lane));
    for (unsigned l = 0; l < n; l++) if (mask >> l & 1)
      if (base[l]->kind != kind || base[l]->mask != mask || base[l]->line != line) return failf("warp divergence: lane %u at line %d, lane %u at line %d", t->lane, line, l, base[l]->line);
    f(w, base, n); w.arrived &= ~mask;
    for (unsigned l = 0; l < n; l++) if (mask >> l & 1) base[l]->st = READY;
  } else { t->st = BLOCKED_WARP; to_main(t); }
}
void warp_sync(unsigned mask, int line) { collective(mask, 1, line, [](Warp& w, Thread**, unsigned) { w.epoch++; }); }
unsigned shfl(unsigned mask, unsigned v, int s, int width, int kind, int line) {
  Thread* t = cur; unsigned* in = t->w->in[t->lane]; in[0] = v; in[1] = s;
  collective(mask, 2 + kind, line, [=](Warp& w, Thread**, unsigned n) {
    for (int l = 0; l < 32; l++) if (mask >> l & 1) {
      int sv = w.in[l][1], src, seg = l & ~(width - 1), hi = seg + width - 1;
      if (kind == 0) src = seg + (sv & (width - 1)); else if (kind == 1) src = l - sv < seg ? l : l - sv; else if (kind == 2) src = l + sv > hi ? l : l + sv; else src = (l ^ sv) > hi ? l : (l ^ sv);
      if (!(mask >> src & 1) || src >= (int)n) { failf("line %d: shuffle reads lane %d, not in mask", line, src); return; }
      w.out[l][0] = w.in[src][0]; } });
  return t->w->out[t->lane][0];
}
unsigned ballot(unsigned mask, int p, int line) {
  Thread* t = cur; t->w->in[t->lane][0] = p != 0;
  collective(mask, 8, line, [=](Warp& w, Thread**, unsigned) { unsigned r = 0; for (int l = 0; l < 32; l++) if (mask >> l & 1) r |= w.in[l][0] << l; for (int l = 0; l < 32; l++) if (mask >> l & 1) w.out[l][0] = r; });
  return t->w->out[t->lane][0];
}
static inline float h2f(uint16_t h) { _Float16 f; memcpy(&f, &h, 2); return (float)f; }
void mma_f16(float* d, const unsigned* a, const unsigned* b, int line) {     // m16n8k16, row.col, fp32 accumulate
  Thread* t = cur; unsigned* in = t->w->in[t->lane]; memcpy(in, a, 16); memcpy(in + 4, b, 8); memcpy(in + 6, d, 16);
  collective(~0u, 9, line, [](Warp& w, Thread**, unsigned) {
    alignas(64) float A[16][16], B[16][8], D[16][8];
    for (int l = 0; l < 32; l++) { int g = l / 4, q = l % 4; const uint16_t* h = (const uint16_t*)w.in[l]; const float* c = (const float*)&w.in[l][6];
      for (int e = 0; e < 8; e++) A[g + 8 * (e / 2 % 2)][2 * q + e % 2 + 8 * (e / 4)] = h2f(h[e]);
      for (int e = 0; e < 4; e++) B[2 * q + e % 2 + 8 * (e / 2)][g] = h2f(h[8 + e]);
      for (int e = 0; e < 4; e++) D[g + 8 * (e / 2)][2 * q + e % 2] = c[e]; }
    for (int i = 0; i < 16; i++) for (int k = 0; k < 16; k++) { float x = A[i][k]; for (int j = 0; j < 8; j++) D[i][j] += x * B[k][j]; }
    for (int l = 0; l < 32; l++) { int g = l / 4, q = l % 4; for (int e = 0; e < 4; e++) memcpy(&w.out[l][e], &D[g + 8 * (e / 2)][2 * q + e % 2], 4); } });
  memcpy(d, t->w->out[t->lane], 16);
}
void ldmatrix(unsigned* r, const void* row, int n, bool trans, int line) {
  Thread* t = cur; memcpy(t->w->in[t->lane], &row, 8);
  if ((int)t->lane < 8 * n && ((uintptr_t)row & 15)) return failf("line %d: ldmatrix row not 16-byte aligned", line);
  if ((int)t->lane < 8 * n) ACCESS(row, 16, false, __builtin_return_address(0));
  collective(~0u, 10 + trans, line, [=](Warp& w, Thread**, unsigned) {
    for (int l = 0; l < 32; l++) for (int i = 0; i < n; i++) { uint16_t e[2]; for (int k = 0; k < 2; k++) { const uint16_t* p; int rr = trans ? 2 * (l % 4) + k : l / 4, cc = trans ? l / 4 : 2 * (l % 4) + k; memcpy(&p, w.in[8 * i + rr], 8); e[k] = p[cc]; } memcpy(&w.out[l][i], e, 4); } });
  memcpy(r, t->w->out[t->lane], 4 * n);
}
#define PC __builtin_return_address(0)
float atomic_f(float* p, float v) { ACCESS(p, 4, true, PC, true); float o = *p; *p = o + v; return o; }
uint32_t atomic_u(uint32_t* p, uint32_t v, int op) { ACCESS(p, 4, true, PC, true); uint32_t o = *p; *p = op == 0 ? o + v : op == 1 ? o | v : std::max(o, v); return o; }
uint64_t atomic_ull(uint64_t* p, uint64_t v, int op) { ACCESS(p, 8, true, PC, true); uint64_t o = *p; *p = op == 0 ? o + v : op == 1 ? o | v : std::max(o, v); return o; }
uint32_t atomic_cas(uint32_t* p, uint32_t c, uint32_t v) { ACCESS(p, 4, true, PC, true); uint32_t o = *p; if (o == c) *p = v; return o; }

// ---------------------------------------------------------------- checked mode: own memory checker behind -fsanitize=thread call-outs
#ifdef EMU_CHECK
struct Cell { uint32_t wlaunch = 0, wepoch, wwe, wblk; uint16_t wthr, watomic; uint32_t rlaunch = 0, repoch, rwe, rblk; uint16_t rthr; bool rmany, init = false; };
struct Region { uintptr_t lo, hi; std::vector<Cell> c; bool smem; };
static std::vector<Region*> regions; static Region* last_region; static Region* stat_region; static std::vector<Region*>* sm_regions; static Block* sm_base;
#define sm_region ((*sm_regions)[cur->b - sm_base])
 static uintptr_t so_lo, so_hi;
static int check_flags = 3;   // 1 races, 2 uninitialised, 4 stats
struct Req { uintptr_t a[32]; int n; int bytes; bool smem, write; };
struct PcStat { std::vector<Req> open; unsigned cnt[32]; unsigned warp = ~0u; uint64_t blk = ~0ull; uint64_t req = 0, waves = 0, ideal = 0, sect = 0, sect_ideal = 0; bool smem, write; };
static std::unordered_map<void*, PcStat> stats; static uint64_t blk_serial;
static void flush(PcStat& s) {
  for (auto& r : s.open) { s.req++;
    if (r.smem) { int per = r.bytes >= 16 ? 8 : r.bytes >= 8 ? 16 : 32; std::vector<uintptr_t> v(r.a, r.a + r.n);
      for (int i = 0; i < r.n; i += per) { int worst = 1; std::vector<uintptr_t> words; for (int l = i; l < std::min(r.n, i + per); l++) for (int k = 0; k < std::max(1, r.bytes / 4); k++) words.push_back(r.a[l] / 4 + k);
        std::sort(words.begin(), words.end()); words.erase(std::unique(words.begin(), words.end()), words.end()); int bank[32] = {}; for (auto x : words) worst = std::max(worst, ++bank[x % 32]); s.waves += worst; s.ideal++; } }
    else { std::vector<uintptr_t> sec, by; for (int l = 0; l < r.n; l++) { for (uintptr_t x = r.a[l] / 32; x <= (r.a[l] + r.bytes - 1) / 32; x++) sec.push_back(x); by.push_back(r.a[l]); }
      std::sort(sec.begin(), sec.end()); std::sort(by.begin(), by.end()); s.sect += std::unique(sec.begin(), sec.end()) - sec.begin(); size_t u = std::unique(by.begin(), by.end()) - by.begin(); s.sect_ideal += (u * r.bytes + 31) / 32; } }
  s.open.clear(); memset(s.cnt, 0, sizeof s.cnt);
}
static void in_flight(void* p, int n) { if (sm_region) for (int i = 0; i < n; i++) sm_region->c[(uintptr_t)p + i - sm_region->lo].init = false; }
static void access(const void* p, int n, bool w, void* pc, bool atomic) {
  Thread* t = cur; if (!t || !in_kernel || failed) return; uintptr_t a = (uintptr_t)p;
  if (a - (uintptr_t)t->stack < STACK) return;
  Region* r = nullptr;
  if (sm_region && a >= sm_region->lo && a < sm_region->hi) r = sm_region;
  else if (stat_region && a >= stat_region->lo && a < stat_region->hi) r = stat_region;
  else { if (last_region && a >= last_region->lo && a < last_region->hi) r = last_region; else for (auto x : regions) if (a >= x->lo && a < x->hi) { r = last_region = x; break; } }
  if (!r) { if (a >= so_lo && a < so_hi) return; failf("%s of %d bytes out of bounds at pc %p", w ? "write" : "read", n, pc); return; }
  if (a + n > r->hi) { failf("%s of %d bytes crosses the end of its buffer at pc %p", w ? "write" : "read", n, pc); return; }
  if (n > 1 && (n == 2 || n == 4 || n == 8 || n == 16) && (a & (n - 1))) { failf("misaligned %d-byte access at pc %p", n, pc); return; }
  Block* b = t->b; unsigned bid = b->id.x + gdim_.x * (b->id.y + gdim_.y * b->id.z);
  for (int i = 0; i < n; i++) { Cell& c = r->c[a + i - r->lo];
    if (check_flags & 2) { if (!w && !c.init) { failf("read of uninitialised %s memory at pc %p", r->smem ? "shared" : "global", pc); return; } }
    if (check_flags & 1) {
      auto clash = [&](uint32_t L, uint32_t B, uint32_t E, uint32_t T, uint32_t WE) { if (L != launch_id) return false; if (B != bid) return !r->smem && !(B < b->seen.size() && b->seen[B] > E); if (T == t->lin || E != b->epoch) return false; return !(T / 32 == t->lin / 32 && WE != t->w->epoch); };
      if (!(atomic && c.watomic) && clash(c.wlaunch, c.wblk, c.wepoch, c.wthr, c.wwe)) { failf("race: %s at pc %p, byte %zu of %s buffer last written by block %u thread %u with no barrier between", w ? "write" : "read", pc, (size_t)(a + i - r->lo), r->smem ? "the shared" : "a global", c.wblk, c.wthr); return; }
      if (w && !atomic && (c.rmany ? c.rlaunch == launch_id && (c.rblk == bid ? c.repoch == b->epoch : !r->smem && !(c.rblk < b->seen.size() && b->seen[c.rblk] > c.repoch)) : clash(c.rlaunch, c.rblk, c.repoch, c.rthr, c.rwe))) { failf("race: write at pc %p, byte %zu of %s buffer read by another thread (block %u thread %u) with no barrier between", pc, (size_t)(a + i - r->lo), r->smem ? "the shared" : "a global", c.rblk, c.rthr); return; } }
    if (w) { c.wlaunch = launch_id; c.wblk = bid; c.wepoch = b->epoch; c.wthr = t->lin; c.wwe = t->w->epoch; c.watomic = atomic; c.init = true; }
    else { bool same = c.rlaunch == launch_id && c.rblk == bid && c.repoch == b->epoch && c.rwe == t->w->epoch; c.rmany = same && (c.rmany || c.rthr != t->lin) && (c.rmany || c.rthr / 32 != t->lin / 32); c.rlaunch = launch_id; c.rblk = bid; c.repoch = b->epoch; c.rthr = t->lin; c.rwe = t->w->epoch; } }
  if (check_flags & 4) { auto& s = stats[pc]; unsigned wi = t->lin / 32; if (s.warp != wi || s.blk != blk_serial) { flush(s); s.warp = wi; s.blk = blk_serial; } s.smem = r->smem; s.write = w;
    unsigned k = s.cnt[t->lane]++; if (k >= s.open.size()) s.open.push_back({{}, 0, n, r->smem, w}); Req& q = s.open[k]; if (q.n < 32) q.a[q.n++] = a; }
}
extern "C" {
void __tsan_init() {} void __tsan_func_entry(void*) {} void __tsan_func_exit() {}
#define RW(n) void __tsan_read##n(void* p) { access(p, n, false, PC); } void __tsan_write##n(void* p) { access(p, n, true, PC); } \
  void __tsan_unaligned_read##n(void* p) { access(p, n, false, PC); } void __tsan_unaligned_write##n(void* p) { access(p, n, true, PC); }
RW(1) RW(2) RW(4) RW(8) RW(16)
void __tsan_read_range(void* p, long n) { access(p, (int)n, false, PC); } void __tsan_write_range(void* p, long n) { access(p, (int)n, true, PC); }
void __tsan_vptr_update(void**, void*) {} void __tsan_vptr_read(void**) {}
void emu_check_flags(int f) { check_flags = f; }
void emu_register(void* p, size_t n, int init) { auto* r = new Region{(uintptr_t)p, (uintptr_t)p + n, std::vector<Cell>(n), false}; for (auto& c : r->c) c.init = init; regions.push_back(r); }
long emu_unwritten(void* p) { for (auto r : regions) if (r->lo == (uintptr_t)p) { long k = 0; for (auto& c : r->c) k += !c.init; return k; } return -1; }
void emu_unregister_all() { for (auto r : regions) delete r; regions.clear(); stats.clear(); last_region = nullptr; }
int emu_stats(char* out, int cap) { std::string s; for (auto& [pc, x] : stats) { flush(x); char b[200]; snprintf(b, sizeof b, "%lx %c%c %lu %lu %lu %lu %lu\n", (unsigned long)((uintptr_t)pc - so_lo), x.smem ? 'S' : 'G', x.write ? 'W' : 'R', x.req, x.waves, x.ideal, x.sect, x.sect_ideal); s += b; } snprintf(out, cap, "%s", s.c_str()); return (int)s.size(); }
}
static int find_so(dl_phdr_info* i, size_t, void*) { uintptr_t me = (uintptr_t)&launch_id; for (int k = 0; k < i->dlpi_phnum; k++) if (i->dlpi_phdr[k].p_type == PT_LOAD) { uintptr_t lo = i->dlpi_addr + i->dlpi_phdr[k].p_vaddr; if (me >= lo && me < lo + i->dlpi_phdr[k].p_memsz) { so_lo = i->dlpi_addr; so_hi = lo + i->dlpi_phdr[k].p_memsz; return 1; } } return 0; }
#endif

// ---------------------------------------------------------------- launch
static char* get_stack(size_t i) { while (stacks.size() <= i) { char* p = (char*)mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0); if (p == MAP_FAILED) abort(); stacks.push_back(p); } return stacks[i]; }
static std::vector<Thread> pool;
enum Progress { MOVED, SPUN, FINISHED, FAILED };
static Progress step(Block& b, std::vector<unsigned>& order) {          // one pass over the block's threads
  if (seed_) std::shuffle(order.begin(), order.end(), rng);
  bool any = false, moved = false;
  for (unsigned i : order) { Thread* t = b.t[i]; if (t->st != READY) continue; any = true; cur = t; tid_ = t->tid; bid_ = b.id; t->yielded = false; n_switch++; to_fiber(t); cur = nullptr; if (failed) return FAILED; moved |= !t->yielded || t->st == DONE; }
  if (b.done == b.t.size()) return FINISHED;
  if (any) return moved ? MOVED : SPUN;
  if (b.waiting && b.waiting + b.done == b.t.size()) {
    int line = -1; for (auto t : b.t) if (t->st == BLOCKED_BAR) { if (line < 0) line = t->line; else if (t->line != line) { failf("divergent __syncthreads: lines %d and %d", line, t->line); return FAILED; } }
    if (b.done) { failf("__syncthreads at line %d not reached by %u exited threads", line, b.done); return FAILED; }
    for (auto t : b.t) t->st = READY; b.waiting = 0; b.epoch++; for (auto& w : b.w) w.epoch++; return MOVED; }
  for (auto t : b.t) if (t->st == BLOCKED_WARP || t->st == BLOCKED_WG) { failf("deadlock: thread %u waits at a %s collective, line %d, mask %08x", t->lin, t->st == BLOCKED_WG ? "warpgroup" : "warp", t->line, t->mask); return FAILED; }
  failf("deadlock"); return FAILED;
}
static bool run(std::vector<Block*>& bs) {
  std::vector<unsigned> order(bs[0]->t.size()); for (unsigned i = 0; i < order.size(); i++) order[i] = i;
  std::vector<char> slow(bs.size(), 0); std::vector<bool> fin(bs.size()); size_t left = bs.size(); unsigned idle = 0;
  while (left) { bool moved = false; if (seed_ && bs.size() > 1 && rng() % 64 == 0) { for (auto& x : slow) x = rng() % 3 == 0; if (rng() % 4 == 0) std::fill(slow.begin(), slow.end(), 0); }
    for (size_t i = 0; i < bs.size(); i++) if (!fin[i]) { if (slow[i] && rng() % 32) continue; Progress p = step(*bs[i], order); if (p == FAILED) return false; if (p == FINISHED) { fin[i] = true; left--; } moved |= p != SPUN; }
    if (moved) idle = 0; else if (++idle > 20000) { failf("livelock: %zu blocks only spin (a wait no running block will satisfy)", left); return false; } }
  return true;
}
int launch(const Launch& l, void (*body)(void*), void* ctx) {
  static bool once; if (!once) { once = true; stack_t ss{}; ss.ss_size = 64 << 10; ss.ss_sp = malloc(ss.ss_size); sigaltstack(&ss, nullptr);
#ifdef EMU_CHECK
    dl_iterate_phdr(find_so, nullptr);
#endif
  }
  body_ = body; ctx_ = ctx; smem_bytes = l.smem; seed_ = l.seed; rng.seed(l.seed); failed = false; err.clear(); bdim_ = l.block; gdim_ = l.grid; launch_id++;
  unsigned nt = l.block.x * l.block.y * l.block.z; size_t nb = (size_t)l.grid.x * l.grid.y * l.grid.z;
  if (nt == 0 || nt > 1024 || nb == 0) { err = "bad launch shape"; return 1; }
  if (l.smem > 227 * 1024) { err = "more than 227 KiB of shared memory"; return 1; }
  // guard page right after the dynamic shared memory
  size_t live = l.cooperative ? nb : 1, pg = 4096, span = (l.smem + pg - 1) / pg * pg; static std::unordered_map<size_t, std::vector<char*>> smems; auto& pool_s = smems[span];
  while (pool_s.size() < live) { char* b = (char*)mmap(nullptr, span + pg, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); mprotect(b + span, pg, PROT_NONE); pool_s.push_back(b); }
  if (l.cooperative && __start_emu_smem != __stop_emu_smem) { err = "cooperative launch needs TK_SHARED, not static __shared__"; return 1; }
  if (pool.size() < nt * live) { pool.clear(); pool.resize(nt * live); }
  std::vector<Block> blocks(live);
  for (size_t k = 0; k < live; k++) { Block& b = blocks[k]; b.smem = pool_s[k] + (span - (l.smem + 1023) / 1024 * 1024); b.t.resize(nt); b.w.resize((nt + 31) / 32); b.wg.resize((nt + 127) / 128);
    for (unsigned i = 0; i < nt; i++) { Thread& t = pool[k * nt + i]; t.stack = get_stack(k * nt + i); t.b = &b; t.w = &b.w[i / 32]; t.lin = i; t.lane = i % 32; t.tid = {i % l.block.x, i / l.block.x % l.block.y, i / (l.block.x * l.block.y)}; b.t[i] = &t; } }
  clocks.clear();
#ifdef EMU_CHECK
  static std::vector<Region*> smr; for (auto r : smr) delete r; smr.clear();
  for (auto& b : blocks) smr.push_back(new Region{(uintptr_t)b.smem, (uintptr_t)b.smem + l.smem, std::vector<Cell>(l.smem), true});
  sm_regions = &smr; sm_base = blocks.data();
  stat_region = __start_emu_smem ? new Region{(uintptr_t)__start_emu_smem, (uintptr_t)__stop_emu_smem, std::vector<Cell>(__stop_emu_smem - __start_emu_smem), true} : nullptr;
#endif
  struct sigaction sa{}, old, oldb; sa.sa_sigaction = on_segv; sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; sigaction(SIGSEGV, &sa, &old); sigaction(SIGBUS, &sa, &oldb); sigaction(SIGILL, &sa, nullptr);
  std::vector<size_t> border(nb); for (size_t i = 0; i < nb; i++) border[i] = i; if (l.seed) std::shuffle(border.begin(), border.end(), rng);
  if (sigsetjmp(on_fault, 0) == 0) { in_kernel = true;
    for (size_t i = 0; i < nb && !failed; i += live) {
      std::vector<Block*> now;
      for (size_t j = 0; j < live; j++) { Block& b = blocks[j]; size_t k = border[i + j]; now.push_back(&b);
        b.id = {unsigned(k % l.grid.x), unsigned(k / l.grid.x % l.grid.y), unsigned(k / ((size_t)l.grid.x * l.grid.y))}; b.done = b.waiting = 0; b.epoch++; b.seen.clear(); for (auto& g : b.wg) g = Wg();
        memset(b.smem, 0xFF, l.smem); if (__start_emu_smem) memset(__start_emu_smem, 0xFF, __stop_emu_smem - __start_emu_smem);       // poison: NaN / -1
#ifdef EMU_CHECK
        blk_serial++; for (auto& c : smr[j]->c) c.init = false; if (stat_region) for (auto& c : stat_region->c) c.init = false;
#endif
        for (auto& w : b.w) w.arrived = 0;
        for (auto t : b.t) { t->st = READY; t->q.clear(); t->n_commit = 0; t->wg_ops = 0; prepare(t); } }
      if (!run(now)) break;
      for (auto& b : blocks) for (auto t : b.t) if (!t->q.empty()) { failf("thread ends with %zu cp.async copies never waited for", t->q.size()); goto out; } } }
out:
  in_kernel = false; cur = nullptr; sigaction(SIGSEGV, &old, nullptr); sigaction(SIGBUS, &oldb, nullptr); ::signal(SIGILL, SIG_DFL);
#ifdef EMU_CHECK
  delete stat_region; stat_region = nullptr;
#endif
  return failed;
}
}
static int find_base(dl_phdr_info* i, size_t, void* out) { uintptr_t me = (uintptr_t)&find_base; for (int k = 0; k < i->dlpi_phnum; k++) if (i->dlpi_phdr[k].p_type == PT_LOAD) { uintptr_t lo = i->dlpi_addr + i->dlpi_phdr[k].p_vaddr; if (me >= lo && me < lo + i->dlpi_phdr[k].p_memsz) { *(uintptr_t*)out = i->dlpi_addr; return 1; } } return 0; }
extern "C" uintptr_t emu_so_base() { uintptr_t b = 0; dl_iterate_phdr(find_base, &b); return b; }
extern "C" const char* emu_error() { return emu::err.c_str(); }
extern "C" void emu_counters(uint64_t* o) { o[0] = emu::n_switch; o[1] = emu::n_coll; }
