// Vectors of the processor at hand: AVX-512, AVX2, NEON, or what the compiler makes of plain C.
//
// vf holds VW floats. vi holds VW int32, or 2 * VW int16 in pairs. A tile is 16 columns wide on all of them, NV vectors,
// so that packed weights and the order of every sum are the same everywhere.

#pragma once

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { TILE = 16 };  // columns

#if defined(__AVX512F__) && defined(__AVX512BW__)

#include <immintrin.h>
#define VW 16
typedef __m512 vf;
typedef __m512i vi;

INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_abs(vf a) { return _mm512_abs_ps(a); }
INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
INLINE vf vf_zero_below(vf x, vf limit, vf y) {
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), _mm512_setzero_ps());
}
INLINE vf vf_power_of_two(vf n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}
INLINE vf vf_load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
INLINE vi vi_zero(void) { return _mm512_setzero_si512(); }
INLINE vf vi_to_float(vi a) { return _mm512_cvtepi32_ps(a); }
INLINE vi vi_pair(const int16_t *p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return _mm512_set1_epi32(pair);
}
INLINE vi vi_dot2(vi sum, vi a, vi b) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
INLINE void vi_load_u4(const uint8_t *p, vi *w) {
  const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
  const __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi16(15));
  w[0] = _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_srli_epi16(bytes, 4), 1);
}
INLINE void vi_load_s8(const uint8_t *p, vi *w) { w[0] = _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)p)); }
INLINE void vf_store_int16(int16_t *p, vf x) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(x)));
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>
#define VW 8
typedef __m256 vf;
typedef __m256i vi;

INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE vf vf_round(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_zero_below(vf x, vf limit, vf y) { return _mm256_andnot_ps(_mm256_cmp_ps(x, limit, _CMP_LT_OQ), y); }
INLINE vf vf_power_of_two(vf n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
INLINE vf vf_load_half(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
INLINE vi vi_zero(void) { return _mm256_setzero_si256(); }
INLINE vf vi_to_float(vi a) { return _mm256_cvtepi32_ps(a); }
INLINE vi vi_pair(const int16_t *p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return _mm256_set1_epi32(pair);
}
INLINE vi vi_dot2(vi sum, vi a, vi b) {
#ifdef __AVXVNNI__
  return _mm256_dpwssd_avx_epi32(sum, a, b);
#else
  return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}
INLINE void vi_load_u4(const uint8_t *p, vi *w) {
  const __m256i bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
  w[0] = _mm256_and_si256(bytes, _mm256_set1_epi16(15));
  w[1] = _mm256_srli_epi16(bytes, 4);
}
INLINE void vi_load_s8(const uint8_t *p, vi *w) {
  w[0] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
  w[1] = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(p + 16)));
}
INLINE void vf_store_int16(int16_t *p, vf x) {
  const __m256i wide = _mm256_cvtps_epi32(x);
  const __m128i low = _mm256_castsi256_si128(wide), high = _mm256_extracti128_si256(wide, 1);
  _mm_storeu_si128((__m128i *)p, _mm_packs_epi32(low, high));
}

#elif defined(__aarch64__)

#include <arm_neon.h>
#define VW 4
typedef float32x4_t vf;
typedef int32x4_t vi;

INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
INLINE void vf_store(float *p, vf x) { vst1q_f32(p, x); }
INLINE vf vf_set(float x) { return vdupq_n_f32(x); }
INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
INLINE vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
INLINE vf vf_abs(vf a) { return vabsq_f32(a); }
INLINE vf vf_round(vf a) { return vrndnq_f32(a); }
INLINE vf vf_zero_below(vf x, vf limit, vf y) { return vbslq_f32(vcltq_f32(x, limit), vdupq_n_f32(0), y); }
INLINE vf vf_power_of_two(vf n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23));
}
INLINE vf vf_load_half(const uint16_t *p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
INLINE vi vi_zero(void) { return vdupq_n_s32(0); }
INLINE vf vi_to_float(vi a) { return vcvtq_f32_s32(a); }
INLINE vi vi_pair(const int16_t *p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return vdupq_n_s32(pair);
}
INLINE vi vi_dot2(vi sum, vi a, vi b) {
  const int16x8_t x = vreinterpretq_s16_s32(a), y = vreinterpretq_s16_s32(b);
  return vaddq_s32(sum, vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y)));
}
INLINE vi vi_widen_u8(uint8x8_t x) { return vreinterpretq_s32_u16(vmovl_u8(x)); }
INLINE void vi_load_u4(const uint8_t *p, vi *w) {
  const uint8x16_t bytes = vld1q_u8(p), low = vandq_u8(bytes, vdupq_n_u8(15)), high = vshrq_n_u8(bytes, 4);
  w[0] = vi_widen_u8(vget_low_u8(low));
  w[1] = vi_widen_u8(vget_high_u8(low));
  w[2] = vi_widen_u8(vget_low_u8(high));
  w[3] = vi_widen_u8(vget_high_u8(high));
}
INLINE void vi_load_s8(const uint8_t *p, vi *w) {
  for (int v = 0; v < 4; v++) w[v] = vreinterpretq_s32_s16(vmovl_s8(vld1_s8((const int8_t *)p + 8 * v)));
}
INLINE void vf_store_int16(int16_t *p, vf x) { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(x))); }

#else

#define VW 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));
typedef int16_t vs __attribute__((vector_size(16)));

INLINE vf vf_load(const float *p) {
  vf x;
  memcpy(&x, p, sizeof x);
  return x;
}
INLINE void vf_store(float *p, vf x) { memcpy(p, &x, sizeof x); }
INLINE vf vf_set(float x) { return (vf){x, x, x, x}; }
INLINE vf vf_add(vf a, vf b) { return a + b; }
INLINE vf vf_sub(vf a, vf b) { return a - b; }
INLINE vf vf_mul(vf a, vf b) { return a * b; }
INLINE vf vf_div(vf a, vf b) { return a / b; }
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf vf_choose(vi where, vf a, vf b) { return (vf)((where & (vi)a) | (~where & (vi)b)); }
INLINE vf vf_max(vf a, vf b) { return vf_choose(a > b, a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_choose(a < b, a, b); }
INLINE vf vf_abs(vf a) { return (vf)((vi)a & 0x7fffffff); }
INLINE vf vf_round(vf a) {
  for (int i = 0; i < VW; i++) a[i] = __builtin_rintf(a[i]);
  return a;
}
INLINE vf vf_zero_below(vf x, vf limit, vf y) { return vf_choose(x < limit, vf_set(0), y); }
INLINE vf vf_power_of_two(vf n) { return (vf)((__builtin_convertvector(n, vi) + 127) << 23); }
INLINE vf vf_load_half(const uint16_t *p) {
  _Float16 half[VW];
  memcpy(half, p, sizeof half);
  return (vf){(float)half[0], (float)half[1], (float)half[2], (float)half[3]};
}
INLINE vi vi_zero(void) { return (vi){0}; }
INLINE vf vi_to_float(vi a) { return __builtin_convertvector(a, vf); }
INLINE vi vi_pair(const int16_t *p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return (vi){pair, pair, pair, pair};
}
INLINE vi vi_dot2(vi sum, vi a, vi b) {
  const vs x = (vs)a, y = (vs)b;
  for (int i = 0; i < VW; i++) sum[i] += x[2 * i] * y[2 * i] + x[2 * i + 1] * y[2 * i + 1];
  return sum;
}
INLINE void vi_load_u4(const uint8_t *p, vi *w) {
  int16_t wide[32];
  for (int i = 0; i < 16; i++) wide[i] = p[i] & 15, wide[16 + i] = p[i] >> 4;
  memcpy(w, wide, sizeof wide);
}
INLINE void vi_load_s8(const uint8_t *p, vi *w) {
  int16_t wide[32];
  for (int i = 0; i < 32; i++) wide[i] = (int8_t)p[i];
  memcpy(w, wide, sizeof wide);
}
INLINE void vf_store_int16(int16_t *p, vf x) {
  for (int i = 0; i < VW; i++) p[i] = (int16_t)__builtin_rintf(x[i]);
}

#endif

enum { NV = TILE / VW };

// The same, in a register here and now: compilers are tempted to load ahead until a sum has to leave its register.
INLINE vi vi_keep(vi x) {
#if defined(__x86_64__) && VW != 4
  __asm__("" : "+x"(x));
#elif defined(__aarch64__)
  __asm__("" : "+w"(x));
#endif
  return x;
}

// Both give their second operand where one is NaN.
INLINE float max_float(float a, float b) { return a > b ? a : b; }

INLINE float vf_sum(vf x) {
  float lanes[VW], sum = 0;
  vf_store(lanes, x);
  for (int i = 0; i < VW; i++) sum += lanes[i];
  return sum;
}

// Of a tile's lanes: in the same order on every processor.
INLINE float tile_sum(const vf *x) {
  float lanes[TILE], sum = 0;
  for (int v = 0; v < NV; v++) vf_store(lanes + v * VW, x[v]);
  for (int i = 0; i < TILE; i++) sum += lanes[i];
  return sum;
}

INLINE float vf_largest(vf x) {
  float lanes[VW], most;
  vf_store(lanes, x);
  most = lanes[0];
  for (int i = 1; i < VW; i++) most = max_float(most, lanes[i]);
  return most;
}

// e^x to about 2e-7 relative (the polynomial of Cephes' expf), 0 below -87, no more than e^88. NaN stays NaN.
INLINE vf vf_exp(vf x) {
  const vf bounded = vf_min(vf_set(88.0f), vf_max(vf_set(-87.0f), x));
  const vf n = vf_round(vf_mul(bounded, vf_set(1.44269504088896341f)));
  const vf r = vf_fma(n, vf_set(2.12194440e-4f), vf_fma(n, vf_set(-0.693359375f), bounded));
  vf p = vf_set(1.9875691500e-4f);
  p = vf_fma(p, r, vf_set(1.3981999507e-3f));
  p = vf_fma(p, r, vf_set(8.3334519073e-3f));
  p = vf_fma(p, r, vf_set(4.1665795894e-2f));
  p = vf_fma(p, r, vf_set(1.6666665459e-1f));
  p = vf_fma(p, r, vf_set(5.0000001201e-1f));
  p = vf_fma(vf_mul(p, r), r, vf_add(r, vf_set(1.0f)));
  return vf_zero_below(x, vf_set(-87.0f), vf_mul(p, vf_power_of_two(n)));
}
