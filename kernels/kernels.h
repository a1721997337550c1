// One declaration per kernel and per table of kernels, nothing else. Only src/registry.cpp, src/eltwise.cpp and src/rowmat.cpp
// include it.
#pragma once

#include "octavo/eltwise.h"
#include "octavo/rowmat.h"
#include "octavo/ukernel.h"

extern "C" {
void octavo_brgemm_u8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_scalar_4x4x1(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_scalar_3x5x3(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_scalar_2x8x8(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx512vnni_14x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx512vnni_120x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx512vnni_14x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx512vnni_120x32x4(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_avx512vnni_14x32x1(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_avx512vnni_120x32x1(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_avx512vnni_126x16x4(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_avx512vnni_126x16x4(const octavo::BrgemmArgs*);
void octavo_grouped_f32f32_avx512vnni_126x16x1(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_avx2_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_avx2_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_f32f32_avx2_240x16x1(const octavo::BrgemmArgs*);
void octavo_winograd_u8s8_avx512vnni_12x32x2(const octavo::WinogradArgs*);
void octavo_winograd_s8s8_avx512vnni_12x32x2(const octavo::WinogradArgs*);
void octavo_winograd_u8s8_avxvnni_6x16x2(const octavo::WinogradArgs*);
void octavo_winograd_s8s8_avxvnni_6x16x2(const octavo::WinogradArgs*);
void octavo_winograd_u8s8_avx2_6x16x2(const octavo::WinogradArgs*);
void octavo_winograd_s8s8_avx2_6x16x2(const octavo::WinogradArgs*);
void octavo_brgemm_u8s8_avx512vnni_6x16x4_ymm(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx512vnni_5x16x4_ymm(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avxvnni_6x16x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avxvnni_5x16x4(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx2_28x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_avx2_240x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx2_28x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_avx2_240x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_avx2_6x16x1(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_sve_48x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_sve_48x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_sve_6x64x1(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_svei8mm_48x64x8(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_svei8mm_48x64x8(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_neoni8mm_48x64x8(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_neoni8mm_48x64x8(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_neondot_48x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_neondot_48x64x4(const octavo::BrgemmArgs*);
void octavo_brgemm_u8s8_neon_5x4x16(const octavo::BrgemmArgs*);
void octavo_brgemm_s8s8_neon_5x4x16(const octavo::BrgemmArgs*);
void octavo_brgemm_f32f32_neon_6x16x1(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_neon_240x32x1(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_neon_240x32x1(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_neondot_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_neondot_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_neoni8mm_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_neoni8mm_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_u8s8_svei8mm_240x32x4(const octavo::BrgemmArgs*);
void octavo_grouped_s8s8_svei8mm_240x32x4(const octavo::BrgemmArgs*);
void octavo_dwconv_u8s8_avx512vnni_4x64x4(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_avxvnni_2x32x4(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_avx2_2x32x2(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_avx512vnni_4x64x4(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_avxvnni_2x32x4(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_avx2_2x32x2(const octavo::DwconvArgs*);
void octavo_dwconv_f32f32_avx512vnni_7x16x1(const octavo::DwconvArgs*);
void octavo_dwconv_f32f32_avx2_7x8x1(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_avx512vnni_2x32x4(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_avx512vnni_2x32x4(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_neon_2x16x1(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_neon_2x16x1(const octavo::DwconvArgs*);
void octavo_dwconv_f32f32_neon_7x4x1(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_neondot_2x16x4(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_neondot_2x16x4(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_neoni8mm_2x16x4(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_sve_4x64x1(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_sve_4x64x1(const octavo::DwconvArgs*);
void octavo_dwconv_u8s8_scalar_1x8x1(const octavo::DwconvArgs*);
void octavo_dwconv_s8s8_scalar_1x8x1(const octavo::DwconvArgs*);
void octavo_dwconv_f32f32_scalar_1x8x1(const octavo::DwconvArgs*);

void octavo_lut_avx512vbmi(const void* in, void* out, size_t n, const uint8_t* table);
void octavo_requantize_avx512vbmi(const octavo::QOperand&, const octavo::QResult&, size_t n);
extern const octavo::EltwiseKernels octavo_eltwise_scalar;
extern const octavo::EltwiseKernels octavo_eltwise_avx2;
extern const octavo::EltwiseKernels octavo_eltwise_avx512vnni;
extern const octavo::EltwiseKernels octavo_eltwise_neon;

extern const octavo::RowMatrixKernels octavo_rowmat_scalar;
extern const octavo::RowMatrixKernels octavo_rowmat_avx2;
extern const octavo::RowMatrixKernels octavo_rowmat_neon;

extern const octavo::PanelKernels octavo_panels_avx512vnni;
}
