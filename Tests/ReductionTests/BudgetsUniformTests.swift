import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

@Suite struct BudgetsUniformTests {
  private static let targets = [
    UniformBudget.Target("q", rows: 96, columns: 128, elementType: .bf16),
    UniformBudget.Target("up", rows: 257, columns: 128, elementType: .bf16),
    UniformBudget.Target("down", rows: 128, columns: 260, elementType: .f32),
  ]
  private static let numbers = 96 * 128 + 257 * 128 + 128 * 260

  private static let families: [LevelFamily] = [
    .zeros(.perRow(0), sparse: true), .zeros(.perLayer(0), sparse: true), .zeros(.perRow(0), sparse: false),
    .zeros(.wholeRows(0), sparse: true), .zeros(.wholeColumns(0), sparse: true),
    .zeros(.blocks(0, rows: 1, columns: 4), sparse: true), .zeros(.groups(keep: 0, of: 4), sparse: true), .factors,
    .cur,
  ]

  /// Bytes are those of the tensors that are written.
  @Test(arguments: [ElementType.f32, .bf16, .f16]) func bytesAreThoseOfFiles(type: ElementType) throws {
    let matrix = try Matrix<Float>(random: 37, 132, seed: 3)
    let pruned = try MagnitudePruning.make().prune(matrix, to: .sparsity(0.6))
    let groups = try MagnitudePruning.make().prune(matrix, to: .pattern(keep: 1, of: 4))
    func bytes(_ encoding: ReducedEncoding) -> Int { encoding.parts.reduce(0) { $0 + $1.bytes.count } }
    func bytes(_ form: ReducedMatrix.Form, _ pattern: SparsePattern?) throws -> Int {
      try StoredForm(form, zeros: pattern).bytes(rows: 37, columns: 132, elementType: type)
    }
    #expect(
      try bytes(.dense(pruned), .unstructured)
        == bytes(ReducedEncoding(SparseMatrix(pruned, elementType: type), name: "a")))
    #expect(
      try bytes(.dense(groups), .groups(keep: 1, of: 4))
        == bytes(
          ReducedEncoding(SparseMatrix(groups, elementType: type, pattern: .groups(keep: 1, of: 4)), name: "a")))
    #expect(try bytes(.dense(pruned), nil) == 37 * 132 * type.byteWidth)
    let factors = try PlainSVD.make().reduce(matrix, nil, to: .rank(5), parallel: MatrixProduct.serially).form
    guard case .factors(let left, let right) = factors else { throw Problem(.reduction, "no factors") }
    #expect(
      try bytes(factors, nil) == bytes(ReducedEncoding(factors: [left, right], elementType: type, name: "a")))
    let cur = try CUR.make().reduce(matrix, nil, to: .rank(5), parallel: MatrixProduct.serially).form
    guard case .cur(let columns, let link, let rows, _, _) = cur else { throw Problem(.reduction, "no cur") }
    #expect(
      try bytes(cur, nil) == bytes(ReducedEncoding(factors: [columns, link, rows], elementType: type, name: "a")))
    let split = try SplitFactors(
      .rows, places: [3, 7], whole: matrix.selecting(rows: [3, 7]), left: left.selecting(rows: Array(2..<37)),
      right: right)
    #expect(
      try bytes(.split(split), nil) == bytes(ReducedEncoding(split, elementType: type, name: "a")))
  }

  @Test func bytesOfWhatIsNoForm() {
    func code(_ form: StoredForm, _ rows: Int = 4, _ columns: Int = 6, _ type: ElementType = .f32) -> Problem.Code? {
      problem { try form.bytes(rows: rows, columns: columns, elementType: type) }?.code
    }
    #expect(code(.dense, -1) == .matrixShape)
    #expect(code(.dense, .max, .max) == .matrixShape)
    #expect(code(.sparse(.unstructured, numbers: 25)) == .matrixShape)
    #expect(code(.sparse(.groups(keep: 2, of: 4), numbers: 12)) == .matrixShape)
    #expect(code(.sparse(.unstructured, numbers: 1), 4, 6, .f64) == .matrixFormat)
    #expect(code(.lowRank(7)) == .matrixShape)
    #expect(code(.lowRank(.max)) == .matrixShape)
    #expect(code(.split(places: 7, numbers: 1)) == .matrixShape)
    #expect(code(.split(places: 1, numbers: .max)) == .matrixShape)
    #expect(code(.cur(chosenColumns: 7, chosenRows: 1)) == .matrixShape)
    #expect(code(.cur(chosenColumns: 6, chosenRows: 4)) == nil)
  }

  /// What a level is said to take is what methods leave.
  @Test func sizesAreThoseOfResults() throws {
    let matrix = try Matrix<Float>(random: 30, 44, seed: 7)
    let patterns: [(PruningPattern, [String: ParameterValue])] = [
      (.perRow(0), ["scope": .word("row")]), (.perLayer(0), ["scope": .word("layer")]),
      (.wholeRows(0), ["structure": .word("row")]), (.wholeColumns(0), ["structure": .word("column")]),
      (
        .blocks(0, rows: 3, columns: 4),
        ["structure": .word("block"), "block_rows": .number(3), "block_columns": .number(4)]
      ),
    ]
    for share in [0, 0.31, 0.5, 0.77, 1] {
      for (pattern, parameters) in patterns {
        let pruned = try MagnitudePruning.make(parameters).prune(matrix, to: .sparsity(share))
        let size = try LevelFamily.zeros(pattern, sparse: true)
          .size(at: .sparsity(share), rows: 30, columns: 44, elementType: .bf16)
        #expect(size.numbers == pruned.elements.count - pruned.zeros)
        let form = StoredForm(.dense(pruned), zeros: .unstructured)
        #expect(try size.bytes == form.bytes(rows: 30, columns: 44, elementType: .bf16))
      }
    }
    for keep in 0...4 {
      let pruned = try MagnitudePruning.make().prune(matrix, to: .pattern(keep: keep, of: 4))
      let size = try LevelFamily.zeros(.groups(keep: 0, of: 4), sparse: true)
        .size(at: .pattern(keep: keep, of: 4), rows: 30, columns: 44, elementType: .bf16)
      #expect(size.numbers == pruned.elements.count - pruned.zeros)
    }
    for (family, type) in [(LevelFamily.factors, PlainSVD.self as any ReductionMethod.Type), (.cur, CUR.self)] {
      for share in [0.1, 0.5, 0.83] {
        let method = try type.init(ReductionParameters([:], for: type.card))
        let reduced = try method.reduce(matrix, nil, to: .parameters(share), parallel: MatrixProduct.serially)
        let size = try family.size(at: .parameters(share), rows: 30, columns: 44, elementType: .f32)
        #expect(size.numbers == reduced.storedNumbers)
        #expect(size.bytes == 4 * reduced.storedNumbers)
      }
    }
    #expect(
      problem {
        try LevelFamily.factors.size(at: .sparsity(0.5), rows: 30, columns: 44, elementType: .f32)
      }?.message == "sparsity 0.5 is no level of a factorization")
    #expect(
      problem {
        try LevelFamily.zeros(.groups(keep: 2, of: 4), sparse: true)
          .size(at: .pattern(keep: 4, of: 8), rows: 30, columns: 44, elementType: .f32)
      }?.message == "4:8 is no level of patterns")
  }

  /// Goals are kept, and the level before would break them.
  @Test(arguments: families) func goalsAreKept(family: LevelFamily) throws {
    let untouched = UntouchedPart(numbers: 5000, bytes: 10000)
    let targets = Self.targets
    func size(_ level: MatrixBudget) throws -> (numbers: Int, bytes: Int) {
      try targets.reduce(into: (0, 0)) {
        let size = try family.size(at: level, rows: $1.rows, columns: $1.columns, elementType: $1.elementType)
        $0.0 += size.numbers
        $0.1 += size.bytes
      }
    }
    func larger(_ level: MatrixBudget) -> MatrixBudget? {
      switch level {
      case .sparsity(let share): share <= 0 ? nil : .sparsity((share * 1e6 - 1).rounded() / 1e6)
      case .parameters(let share): share >= 1 ? nil : .parameters((share * 1e6 + 1).rounded() / 1e6)
      case .pattern(let keep, let of): keep == of ? nil : .pattern(keep: keep + 1, of: of)
      case .rank: nil
      }
    }
    let isInPlace = if case .zeros(_, sparse: false) = family { true } else { false }
    for share in [0.33, 0.5, 0.75, 0.9, 1] {
      let found = try UniformBudget(.parameters(share), for: targets, in: family)
      #expect(found.numbers <= Int(Double(Self.numbers) * share))
      #expect(try size(found.level) == (found.numbers, found.bytes))
      if let next = larger(found.level) { #expect(try size(next).numbers > Int(Double(Self.numbers) * share)) }

      let whole = Int(Double(Self.numbers + 5000) * share) - 5000
      let ofModel = try UniformBudget(.modelParameters(share), for: targets, in: family, untouched: untouched)
      #expect(ofModel.numbers <= whole)
      if let next = larger(ofModel.level) { #expect(try size(next).numbers > whole) }

      if isInPlace { continue }
      let bytes = 10000 + Int(Double(Self.numbers) * 3 * share)
      let inBytes = try UniformBudget(.bytes(bytes), for: targets, in: family, untouched: untouched)
      #expect(inBytes.bytes + 10000 <= bytes)
      if let next = larger(inBytes.level) { #expect(try size(next).bytes + 10000 > bytes) }
    }
  }

  @Test func levelsReadWell() throws {
    func level(_ goal: BudgetGoal, _ family: LevelFamily) throws -> MatrixBudget {
      try UniformBudget(goal, for: Self.targets, in: family).level
    }
    #expect(try level(.sparsity(0.5), .zeros(.perRow(0), sparse: true)) == .sparsity(0.5))
    #expect(try level(.parameters(0.25), .zeros(.perRow(0), sparse: true)) == .sparsity(0.75))
    #expect(try level(.sparsity(0.5), .zeros(.groups(keep: 0, of: 4), sparse: true)) == .pattern(keep: 2, of: 4))
    #expect(try level(.sparsity(0.51), .zeros(.groups(keep: 0, of: 4), sparse: true)) == .pattern(keep: 1, of: 4))
    // The third of a row of 128 or 260 that methods round down is less than asked for.
    let third = try UniformBudget(.parameters(2.0 / 3), for: Self.targets, in: .zeros(.perRow(0), sparse: true))
    guard case .sparsity(let share) = third.level else { throw Problem(.reduction, "no sparsity") }
    #expect(share > 1.0 / 3 && share < 0.345)
  }

  @Test func whatIsRefused() {
    func message(
      _ goal: BudgetGoal, _ family: LevelFamily, _ untouched: UntouchedPart = UntouchedPart(),
      _ targets: [UniformBudget.Target] = Self.targets
    ) -> String? {
      let found = problem { try UniformBudget(goal, for: targets, in: family, untouched: untouched) }
      return found?.code == .reduction ? found?.message : nil
    }
    let zeros = LevelFamily.zeros(.perRow(0), sparse: true)
    for share in [-0.1, 1.1, .nan] {
      for goal in [BudgetGoal.sparsity(share), .parameters(share), .modelParameters(share)] {
        #expect(message(goal, zeros) == "a share of \(share), which must be from 0 to 1")
      }
    }
    #expect(message(.maxError(.nan), zeros) == "an error of nan, which must be 0 or more")
    #expect(message(.maxError(0.1), zeros) == "one level for an error of every matrix takes a measured table")
    #expect(
      message(.sparsity(0.5), .factors) == "a sparsity of 0.5 for a method that makes factors, not zeros")
    #expect(
      message(.parameters(0.001), .factors)
        == "the targets may take 78 numbers, and at their smallest level, parameters 0.018231, they take 997 numbers")
    #expect(
      message(.bytes(1000), zeros, UntouchedPart(numbers: 600, bytes: 1200))
        == "1.00 kB is less than the 1.20 kB of parameters that stay as they are")
    #expect(
      message(.modelParameters(0.25), zeros, UntouchedPart(numbers: 78464, bytes: 0))
        == "0.25 of 156928 numbers is less than the 78464 of parameters that stay as they are")
    #expect(
      message(.bytes(1000), .zeros(.perRow(0), sparse: false))
        == "the targets may take 1.00 kB, and at their smallest level, sparsity 1.0, they take 223 kB")
    let vector = [UniformBudget.Target("v", rows: 1, columns: 64, elementType: .f32)]
    #expect(message(.parameters(0.5), .factors, UntouchedPart(), vector)?.contains("does not pay for one rank") == true)
    let vast = [UniformBudget.Target("v", rows: .max, columns: 2, elementType: .f32)]
    #expect(problem { try UniformBudget(.parameters(0.5), for: vast, in: zeros) }?.code == .matrixShape)
    let many = [UniformBudget.Target](
      repeating: UniformBudget.Target("v", rows: 1 << 24, columns: 1 << 24, elementType: .f32), count: 20)
    #expect(problem { try UniformBudget(.parameters(0.5), for: many, in: zeros) }?.code == .matrixShape)
  }
}
