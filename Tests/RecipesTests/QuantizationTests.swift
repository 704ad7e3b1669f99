import EspalierArchitectures
import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierEvaluation
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierTokenizers
import TestSupport
import Testing

@testable import EspalierRecipes

@Suite("Quantizing models")
struct QuantizationTests {
  private static let source = "\(FileSystem.parent(of: #filePath))/Fixtures/quantization/source.gguf"
  private static let model = "\(packageFolder)/Models/base"

  private func plan(
    _ request: QuantizationRequest, of model: String, to output: String,
    _ change: (inout MergeOptions) -> Void = { _ in }
  ) throws -> QuantizationPlan {
    let families = Architecture.builtIn()
    var options = MergeOptions(output: output)
    options.threads = 2
    options.shardBytes = .max
    change(&options)
    return try QuantizationPlan(
      request, of: model, checkpoint: try Architecture.openCheckpoint(at: model, families: families),
      families: families, options: options)
  }

  private func request(_ name: String) throws -> QuantizationRequest {
    QuantizationRequest(mix: try #require(QuantizationMix.named(name)))
  }

  @Test("A folder becomes a file, and the file a folder again, bit for bit where types allow it")
  func roundTrip() throws {
    try withTemporaryFolder { folder in
      let file = "\(folder)/model.gguf"
      _ = try QuantizationRun.execute(
        try plan(try request("F32"), of: Self.model, to: file), listener: SilentListener())
      let families = Architecture.builtIn()
      let original = try Architecture.openCheckpoint(at: Self.model, families: families)
      let again = try Architecture.openCheckpoint(at: file, families: families)
      let (a, b) = (original.parametersByName(), again.parametersByName())
      #expect(Set(a.keys) == Set(b.keys))
      let files = FilePool()
      for (name, parameter) in a {
        #expect(b[name]?.shape == parameter.shape)
        let other = try #require(b[name])
        let (before, after) = (try Self.values(parameter, files), try Self.values(other, files))
        #expect(before == after, "\(name)")
      }
      // The tokenizer came along.
      let text = "The quick brown fox, 12 + 34 = 46."
      let (ids, expected) = (
        try ModelTokenizer(of: again).tokenizer.ids(text), try ModelTokenizer(of: original).tokenizer.ids(text)
      )
      #expect(ids == expected)
    }
  }

  private static func values(_ parameter: Parameter, _ files: FilePool) throws -> [Float] {
    let reader = try parameter.recipe.reader(files: files)
    let count = parameter.elementCount
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: reader.scratchBytes(for: count) + 64, alignment: 64)
    defer { scratch.deallocate() }
    var values = [Float](repeating: 0, count: count)
    let memory = try #require(scratch.baseAddress)
    try values.withUnsafeMutableBufferPointer { values in
      if let start = values.baseAddress { try reader.read(0..<count, into: start, scratch: memory) }
    }
    return values
  }

  @Test("The same bytes whatever threads, memory and parts; split files hold the same tensors")
  func determinism() throws {
    try withTemporaryFolder { folder in
      var bytes: [[UInt8]] = []
      for (index, threads) in [1, 2, 5].enumerated() {
        let plan = try plan(try request("Q4_K_M"), of: Self.source, to: "\(folder)/\(index).gguf") {
          $0.threads = threads
          $0.memory = index == 0 ? 52 << 20 : 1 << 30
        }
        _ = try QuantizationRun.execute(plan, listener: SilentListener())
        bytes.append(try FileSystem.read("\(folder)/\(index).gguf"))
      }
      #expect(bytes[0] == bytes[1] && bytes[1] == bytes[2])
      let split = try plan(try request("Q4_K_M"), of: Self.source, to: "\(folder)/split.gguf") {
        $0.shardBytes = 1 << 16
      }
      _ = try QuantizationRun.execute(split, listener: SilentListener())
      let names = try FileSystem.list(folder).filter { $0.hasPrefix("split-") }
      #expect(names.count > 1 && !FileSystem.isFile("\(folder)/split.gguf"))
      let (whole, parts) = (
        try GGUFFiles(at: "\(folder)/0.gguf"), try GGUFFiles(at: "\(folder)/\(names.sorted()[0])")
      )
      let files = FilePool()
      let (a, b) = (try whole.storedTensors(), try parts.storedTensors())
      #expect(a.map(\.name) == b.map(\.name))
      for (one, other) in zip(a, b) {
        let (bytes, same) = (
          try files.file(one.file).read(one.byteCount, at: one.offset),
          try files.file(other.file).read(other.byteCount, at: other.offset)
        )
        #expect(bytes == same)
      }
      let outcome = try Verification.verify(
        QuantizationPlan.reportPath(of: "\(folder)/split.gguf"), threads: 2, listener: SilentListener())
      #expect(outcome.problems.isEmpty && outcome.tensors == a.count)
    }
  }

  @Test("Errors are those of what was written; verification finds one changed bit")
  func errors() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/q.gguf"
      let report = try QuantizationRun.execute(
        try plan(try request("Q5_0"), of: Self.source, to: path), listener: SilentListener())
      let files = FilePool()
      let (before, after) = (
        try GGUFFiles(at: Self.source).storedTensors(), try GGUFFiles(at: path).storedTensors()
      )
      let original = Dictionary(uniqueKeysWithValues: before.map { ($0.name, $0) })
      var blocks = 0
      for (tensor, stored) in zip(report.tensors, after) {
        #expect(tensor.name == stored.name && tensor.to == stored.format.name)
        guard let error = tensor.error else { continue }
        blocks += 1
        let known = try #require(original[tensor.name])
        let a = try Self.values(Parameter(known), files)
        let b = try Self.values(Parameter(stored), files)
        let squares = zip(a, b).reduce(0.0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
        let norm = a.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(abs(error - (squares / norm).squareRoot()) < 1e-9 * error)
      }
      #expect(blocks > 5)
      let folder = QuantizationPlan.reportPath(of: path)
      let sound = try Verification.verify(folder, threads: 2, listener: SilentListener())
      #expect(sound.problems.isEmpty)
      try flip(path, at: after[0].offset + 3)
      let found = try Verification.verify(folder, threads: 2, listener: SilentListener())
      #expect(found.problems.map(\.code) == [.verifyMismatch])
    }
  }

  @Test("An interrupted run goes on where it was, and ends with the same bytes")
  func resume() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/q.gguf"
      let whole = try plan(try request("Q4_K_M"), of: Self.source, to: "\(folder)/whole.gguf")
      _ = try QuantizationRun.execute(whole, listener: SilentListener())
      #expect(throws: Problem.self) {
        try QuantizationRun.execute(
          try plan(try request("Q4_K_M"), of: Self.source, to: path), listener: SilentListener()
        ) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      #expect(!FileSystem.isFile(path))
      #expect(throws: Problems.self) { try plan(try request("Q4_K_M"), of: Self.source, to: path) }
      let resumed = try QuantizationRun.execute(
        try plan(try request("Q4_K_M"), of: Self.source, to: path) { $0.policy = .init(resume: true) },
        listener: SilentListener())
      #expect(resumed.kept == resumed.tensors.count)
      #expect(resumed.tensors.contains { $0.error != nil })
      let (bytes, expected) = (try FileSystem.read(path), try FileSystem.read("\(folder)/whole.gguf"))
      #expect(bytes == expected)
    }
  }

  @Test("Importance moves error away from columns that count")
  func importance() throws {
    try withTemporaryFolder { folder in
      var request = try request("Q4_0")
      let plain = try QuantizationRun.execute(
        try plan(request, of: Self.source, to: "\(folder)/plain.gguf"), listener: SilentListener())
      let name = "blk.0.ffn_up.weight"
      let width = try #require(plain.tensors.first { $0.name == name }?.shape.last)
      let sums = (0..<width).map { $0 % 8 == 0 ? 100.0 : 0.01 }
      request.importance = ImportanceMatrix(
        entries: [.init(name: name, width: width, counts: [1], squareSums: sums)], datasets: [], chunkCount: 1,
        chunkSize: 1)
      let weighed = try QuantizationRun.execute(
        try plan(request, of: Self.source, to: "\(folder)/weighed.gguf"), listener: SilentListener())
      let files = FilePool()
      func columns(_ path: String) throws -> [Float] {
        let tensors = try GGUFFiles(at: path).storedTensors()
        let tensor = try #require(tensors.first { $0.name == name })
        return try Self.values(Parameter(tensor), files)
      }
      let original = try columns(Self.source)
      func error(_ values: [Float]) -> Double {
        zip(values, original).enumerated().reduce(0) { sum, pair in
          let difference = Double(pair.element.0 - pair.element.1)
          return sum + (pair.offset % width % 8 == 0 ? difference * difference : 0)
        }
      }
      let (without, with) = (try error(columns("\(folder)/plain.gguf")), try error(columns("\(folder)/weighed.gguf")))
      #expect(with < 0.7 * without)
      let untouched = weighed.tensors.filter { $0.name != name && $0.error != nil }
      for tensor in untouched {
        #expect(tensor.error == plain.tensors.first { $0.name == tensor.name }?.error)
      }
      // Of another model.
      request.importance?.entries[0].width = width / 2
      #expect(throws: Problems.self) { try plan(request, of: Self.source, to: "\(folder)/other.gguf") }
    }
  }

  @Test("What cannot be is refused before anything is written, all at once")
  func refusals() throws {
    try withTemporaryFolder { folder in
      var request = try request("Q4_K_M")
      let quantized = "\(folder)/q8.gguf"
      _ = try QuantizationRun.execute(
        try plan(try self.request("Q8_0"), of: Self.source, to: quantized), listener: SilentListener())
      func codes(_ body: () throws -> QuantizationPlan) -> [Problem.Code] {
        do {
          _ = try body()
          return []
        } catch let problems as Problems { return problems.all.map(\.code) } catch { return [] }
      }
      #expect(codes { try plan(request, of: quantized, to: "\(folder)/a.gguf") }.contains(.quantizationType))
      request.allowsRequantizing = true
      #expect(codes { try plan(request, of: quantized, to: "\(folder)/a.gguf") }.isEmpty)
      request.rules = [try TensorTypeRule("nothing_like_it=Q8_0")]
      let both = codes {
        try plan(request, of: quantized, to: quantized) { $0.memory = 1 << 20 }
      }
      #expect(Set(both).isSuperset(of: [.quantizationType, .outputExists, .memoryCeiling]))
    }
  }

  @Test("Types are chosen for a size and for a divergence; the choice is the best of all, and is met")
  func fitting() throws {
    try withTemporaryFolder { folder in
      let families = Architecture.builtIn()
      let checkpoint = try Architecture.openCheckpoint(at: Self.model, families: families)
      let pool = WorkerPool(threads: 2)
      defer { pool.stop() }
      let evaluation = ModelEvaluation(
        data: try EvaluationData(texts: ["\(packageFolder)/Models/text/calib/prose.txt"]),
        cut: TextProtocol(.windows(length: 64), limit: 2),
        run: RunOptions(mode: .fast, pool: pool, memory: 1 << 30, families: families), listener: SilentListener())
      let request = try request("Q4_K_M")
      var options = MergeOptions(output: "\(folder)/fit.gguf")
      options.threads = 2
      var fitting = TypeFitting(request, to: .bits(5), evaluation: evaluation)
      fitting.types = [.q4_0, .q5_0, .q8_0]
      let found = try fitting.find(
        for: checkpoint, named: Self.model, families: families, options: options, listener: SilentListener())
      let plan = try plan(found.request, of: Self.model, to: options.output)
      #expect(plan.byteCount == found.fit.bytes)
      #expect(plan.bitsPerWeight <= 5 && plan.bitsPerWeight > 4.5)
      #expect(found.fit.certificate.error == 0)
      TypeFitting.removeScratch(beside: options.output)
      // The table is read back as it was, and a divergence is met with it.
      let table = try TypeSensitivity(found.table.json)
      #expect(table == found.table)
      fitting.table = table
      fitting.target = .divergence(0.02)
      let met = try fitting.find(
        for: checkpoint, named: Self.model, families: families, options: options, listener: SilentListener())
      let measured = try #require(met.measured)
      #expect(measured <= 0.02)
      TypeFitting.removeScratch(beside: options.output)
      let left = try FileSystem.list(folder)
      #expect(left.isEmpty)
      fitting.target = .bytes(1000)
      #expect(throws: Problems.self) {
        try fitting.find(
          for: checkpoint, named: Self.model, families: families, options: options, listener: SilentListener())
      }
    }
  }

  @Test("Types by the variance of weights: exact, from weights alone, larger variances with no fewer bits")
  func variance() throws {
    try withTemporaryFolder { folder in
      let families = Architecture.builtIn()
      let checkpoint = try Architecture.openCheckpoint(at: Self.model, families: families)
      let pool = WorkerPool(threads: 2)
      defer { pool.stop() }
      let evaluation = ModelEvaluation(
        data: try EvaluationData(texts: []), cut: TextProtocol(.windows(length: 64), limit: 1),
        run: RunOptions(mode: .fast, pool: pool, memory: 1 << 30, families: families), listener: SilentListener())
      var options = MergeOptions(output: "\(folder)/fit.gguf")
      options.threads = 2
      var fitting = TypeFitting(try request("Q4_K_M"), to: .bits(5), evaluation: evaluation)
      fitting.signal = .variance
      let found = try fitting.find(
        for: checkpoint, named: Self.model, families: families, options: options, listener: SilentListener())
      #expect(try FileSystem.list(folder).isEmpty)
      let plan = try plan(found.request, of: Self.model, to: options.output)
      #expect(plan.byteCount == found.fit.bytes && plan.bitsPerWeight <= 5 && plan.bitsPerWeight > 4.9)
      #expect(found.fit.certificate.error == 0 && found.table.signal == .variance && found.measured == nil)
      #expect(found.text.contains("of the weights' variance (no choice foresees less)"))

      // Variances are those of the weights, and losses the shares that types leave of them.
      let parameters = checkpoint.parametersByName()
      let tensors = Dictionary(uniqueKeysWithValues: plan.tensors.map { ($0.name, $0) })
      var variances: [String: Double] = [:]
      for row in found.table.rows {
        let source = try #require(tensors[row.name]?.sources.first)
        let values = try #require(parameters[ExactString(source)]).allElements().map(Double.init)
        let mean = values.reduce(0, +) / Double(values.count)
        variances[row.name] = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(values.count)
      }
      let whole = found.table.rows.reduce(0) { $0 + Double($1.numbers) * (variances[$1.name] ?? 0) }
      var foreseen = 0.0
      for row in found.table.rows {
        let format = try #require(found.fit.formats[ExactString(row.name)])
        let choice = try #require(row.choices.first { $0.format == format })
        guard case .blocks(let type) = format else { continue }
        let expected =
          Double(row.numbers) * (variances[row.name] ?? 0) * (try VarianceTable.error(of: type, .reference))
        #expect(abs(choice.error - expected) <= 1e-6 * expected, "\(row.name)")
        foreseen += expected / whole
      }
      #expect(abs(found.fit.predicted - foreseen) <= 1e-6 * foreseen)
      // Of two tensors of one shape the one that varies more loses no larger a share: they could change places.
      for a in found.table.rows {
        for b in found.table.rows
        where tensors[a.name]?.shape == tensors[b.name]?.shape && variances[a.name]! > variances[b.name]! {
          let shares = [a, b].map { row in
            row.choices.first { $0.format == found.fit.formats[ExactString(row.name)] }!.error / variances[row.name]!
          }
          #expect(shares[0] <= shares[1] * (1 + 1e-6), "\(a.name) \(b.name)")
        }
      }
      // Coarser types lose more, as a share of normal deviates.
      let losses = try [BlockType.q8_0, .q6_K, .q5_K, .q4_K, .q3_K, .q2_K].map { (type) throws(Problem) in
        try VarianceTable.error(of: type, .reference)
      }
      #expect(losses == losses.sorted() && losses[0] > 1e-6 && losses[5] < 0.2)

      // The table is read back, and does not answer for a divergence.
      let table = try TypeSensitivity(found.table.json)
      #expect(table == found.table)
      var damaged = found.table.json
      damaged["signal"] = .string("kurtosis")
      #expect(problem { try TypeSensitivity(damaged) }?.message.contains("no signal that is known") == true)
      (fitting.table, fitting.target) = (table, .divergence(0.1))
      let refused = problem {
        try fitting.find(
          for: checkpoint, named: Self.model, families: families, options: options, listener: SilentListener())
      }
      #expect(refused?.message == "the variance of weights foresees no divergence, which is the target")
      // Threads change nothing.
      let one = WorkerPool(threads: 1)
      defer { one.stop() }
      let again = try VarianceTable(plan, types: TypeSensitivityRun.standardTypes, workers: one).measure(record: .null)
      #expect(again.rows == found.table.rows)
    }
  }
}
