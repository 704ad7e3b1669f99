#pragma once

// The few symbols of OpenBLAS that are called, declared here so that no LAPACK header need be installed. Fortran
// passes everything by address, matrices column by column; the hidden lengths of one-letter strings may be left out.
// `const` is left out too, so that calls read the same for Accelerate's declarations.

void openblas_set_num_threads(int count);

void dgesdd_(char *jobz, int *m, int *n, double *a, int *lda, double *s, double *u, int *ldu, double *vt, int *ldvt,
             double *work, int *lwork, int *iwork, int *info);
void dsyevd_(char *jobz, char *uplo, int *n, double *a, int *lda, double *w, double *work, int *lwork, int *iwork,
             int *liwork, int *info);
void dgelqf_(int *m, int *n, double *a, int *lda, double *tau, double *work, int *lwork, int *info);
void dorglq_(int *m, int *n, int *k, double *a, int *lda, double *tau, double *work, int *lwork, int *info);
void dpotrf_(char *uplo, int *n, double *a, int *lda, int *info);
