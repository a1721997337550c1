// One declaration per kernel and per elementwise table, nothing else. Only src/registry.cpp and src/eltwise.cpp include it.
#pragma once

#include "octavo/eltwise.h"
#include "octavo/ukernel.h"

extern "C" {
void octavo_brgemm_u8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_scalar_4x4x1(const octavo::BrgemmArgs*);

extern const octavo::EltwiseKernels octavo_eltwise_scalar;
extern const octavo::EltwiseKernels octavo_eltwise_avx2;
extern const octavo::EltwiseKernels octavo_eltwise_avx512vnni;
}
