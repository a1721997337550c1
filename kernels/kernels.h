// One declaration per kernel and per elementwise table, nothing else. Only src/registry.cpp and src/eltwise.cpp include it.
#pragma once

#include "octavo/eltwise.h"
#include "octavo/ukernel.h"

extern "C" {
void octavo_brgemm_u8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_scalar_3x5x3(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_scalar_2x8x8(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx512vnni_14x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx512vnni_14x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_avx512vnni_14x32x1(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx512vnni_6x16x4_ymm(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx512vnni_6x16x4_ymm(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avxvnni_6x16x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avxvnni_6x16x4(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx2_6x16x2(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx2_6x16x2(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_avx2_6x16x1(const octavo::BrgemmArgs*);

extern const octavo::EltwiseKernels octavo_eltwise_scalar;
extern const octavo::EltwiseKernels octavo_eltwise_avx2;
extern const octavo::EltwiseKernels octavo_eltwise_avx512vnni;
}
