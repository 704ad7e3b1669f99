import EspalierBasics
import EspalierNetworks
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCalibration
@testable import EspalierCheckpoints

@Suite struct CalibrationTests {
  /// The first norm of the first block over embeddings, computed here in float64, against the file.
  @Test func firstSiteIsTheNormOfEmbeddings() throws {
    let model = Model(name: "llama_gqa_untied")
    let sequences = Model.sequences()
    let config = try JSON(parsing: try FileSystem.read("\(model.path)/config.json"))
    let (width, epsilon) = (try #require(config["hidden_size"]?.integer), config["rms_norm_eps"]?.number ?? 1e-6)
    let table = try model.values("model.embed_tokens.weight")
    let norm = try model.values("model.layers.0.input_layernorm.weight")
    let rows = sequences.flatMap { $0 }.map { token in
      let x = table[Int(token) * width..<(Int(token) + 1) * width]
      let root = (x.reduce(0) { $0 + $1 * $1 } / Double(width) + epsilon).squareRoot()
      return zip(x, norm).map { $0 / root * $1 }
    }
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s.safetensors")
      let file = try StatisticsFile(at: "\(folder)/s.safetensors")
      let site = try #require(try file.statistics(of: "text/0/attention"))
      #expect(site.distance(to: reference(rows)) < 2e-6)
    }
  }

  /// The rows before the head are the final states that an independent implementation gives.
  @Test func headSeesFinalStates() throws {
    let model = Model(name: "llama_gqa_untied")
    let outputs = try model.network().forward(NetworkInputs(tokens: Model.sequences()), hiddenStates: true)
    let states = try #require(outputs.first { $0.name == "last_hidden_state" || $0.name == "final" })
    let width = try #require(states.shape.last)
    let rows = stride(from: 0, to: states.values.count, by: width).map {
      states.values[$0..<$0 + width].map(Double.init)
    }
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s.safetensors")
      let site = try #require(try StatisticsFile(at: "\(folder)/s.safetensors").statistics(of: "text/head"))
      #expect(site.distance(to: reference(rows)) < 1e-6)
    }
  }

  /// Every site of every family that reads text, against sums in float64 over the rows that were shown.
  @Test(arguments: ["llama_gqa_untied", "gpt2", "gemma2", "gpt_neox_parallel", "phi3", "mixtral", "mamba", "bert_base"])
  func everySiteAgrees(name: String) throws {
    let model = Model(name: name)
    let rows = try model.rows()
    try withTemporaryFolder { folder in
      let plan = try model.calibrate(to: "\(folder)/s.safetensors").plan
      let file = try StatisticsFile(at: "\(folder)/s.safetensors")
      #expect(file.sites == plan.sites.map(\.name))
      for site in plan.sites {
        let statistics = try #require(try file.statistics(of: site.name))
        let seen = (rows[site.name] ?? []).map { $0.map(Double.init) }
        #expect(statistics.count == seen.count)
        // A pooler sees one row a text.
        if !site.isExpert { #expect([plan.tokenCount, 9].contains(statistics.count), "\(site.name)") }
        if !seen.isEmpty { #expect(statistics.distance(to: reference(seen)) < 1e-6, "\(site.name)") }
      }
      let layers = file.blocks.filter { $0.similarity != nil }
      #expect(layers.count == plan.blocks.count { $0.block.isLayer })
      #expect(layers.allSatisfy { $0.rows == plan.tokenCount && abs($0.similarity ?? 2) <= 1 })
    }
  }

  /// Experts see the rows that the router, computed here, sends to them.
  @Test func expertsAreHitAsTheRouterSays() throws {
    let model = Model(name: "mixtral")
    let config = try JSON(parsing: try FileSystem.read("\(model.path)/config.json"))
    let (experts, chosen) = (
      try #require(config["num_local_experts"]?.integer), try #require(config["num_experts_per_tok"]?.integer)
    )
    let rows = try model.rows()
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s.safetensors")
      let file = try StatisticsFile(at: "\(folder)/s.safetensors")
      for layer in 0..<(try #require(config["num_hidden_layers"]?.integer)) {
        let inputs = try #require(rows["text/\(layer)/feedForward"])
        var router = try model.values("model.layers.\(layer).block_sparse_moe.gate.weight")
        if router.isEmpty { router = try model.values("model.layers.\(layer).mlp.gate.weight") }
        var hits = [Int](repeating: 0, count: experts)
        for x in inputs {
          let logits = (0..<experts).map { e in
            x.indices.reduce(0) { $0 + Double(x[$1]) * router[e * x.count + $1] }
          }
          for e in logits.indices.sorted(by: { (logits[$0], $1) > (logits[$1], $0) }).prefix(chosen) { hits[e] += 1 }
        }
        #expect(hits.reduce(0, +) == chosen * inputs.count)
        for e in 0..<experts {
          for site in ["experts", "experts.down"] {
            #expect(try file.statistics(of: "text/\(layer)/\(e)/\(site)")?.count == hits[e])
          }
        }
      }
    }
  }

  /// Threads, memory (a file between blocks, several passes a block) and which texts run together change no byte.
  @Test(arguments: ["llama_gqa_untied", "mixtral"])
  func onlyTheTokensMatter(name: String) throws {
    let model = Model(name: name)
    // More rows than run together, of texts that do not fill a group.
    let sequences = Model.sequences(90, length: 17)
    try withTemporaryFolder { folder in
      let plan = try model.calibrate(sequences, to: "\(folder)/a", workers: WorkerPool(threads: 1)).plan
      #expect(!plan.spills && plan.blocks.allSatisfy { $0.passes.count == 1 })
      let whole = try FileSystem.read("\(folder)/a")
      _ = try model.calibrate(sequences, to: "\(folder)/b", workers: WorkerPool(threads: 3))
      #expect(try FileSystem.read("\(folder)/b") == whole)

      let spilling = plan.peakBytes - 1
      let second = try model.calibrate(sequences, to: "\(folder)/c", memory: spilling).plan
      #expect(second.spills && second.peakBytes <= spilling)
      #expect(try FileSystem.read("\(folder)/c") == whole)
      #expect(FileSystem.kind("\(folder)/c.activations") == nil)

      let blocks = plan.blocks.map { block in
        let sites = block.block.sites.map { SiteAccumulator.byteCount(width: $0.width, momentLimit: 8192) }
        return block.block.weightBytes + (sites.max() ?? 0)
      }
      let least = CalibrationPlan.workingBytes + plan.groupBytes + (blocks.max() ?? 0)
      let third = try model.calibrate(sequences, to: "\(folder)/d", memory: least).plan
      #expect(third.blocks.contains { $0.passes.count > 1 })
      #expect(try FileSystem.read("\(folder)/d") == whole)
      let refused = problem { try model.calibrate(sequences, to: "\(folder)/e", memory: least - 1) }
      #expect(refused?.code == .memoryCeiling)
      #expect(refused?.message.contains("text/0/") == true)
      #expect(FileSystem.kind("\(folder)/e.partial") == nil)
    }
  }

  /// Passes without a file between blocks run on copies.
  @Test func blocksThatRunTwiceBeginWithTheSame() throws {
    let model = Model(name: "llama_gqa_untied")
    let network = try model.network()
    let (once, twice) = (
      try BlockRun(network, sequences: Model.sequences()), try BlockRun(network, sequences: Model.sequences())
    )
    for _ in try network.blocks() {
      var seen: [[Float]] = [[], [], []]
      func look(_ place: Int) -> BlockRun.Observer {
        { (_, rows) in seen[place] += UnsafeBufferPointer(start: rows.elements, count: rows.rows * rows.columns) }
      }
      _ = try once.runBlock(observe: look(0))
      _ = try twice.runBlock(repeats: true, observe: look(1))
      _ = try twice.runBlock(observe: look(2))
      #expect(seen[0] == seen[1] && seen[0] == seen[2])
    }
  }

  @Test func resumesAfterACut() throws {
    let model = Model(name: "llama_gqa_untied")
    try withTemporaryFolder { folder in
      let path = "\(folder)/s"
      let calibration = try model.calibrate(to: path)
      let whole = try FileSystem.read(path)
      // As after a cut within the last layer: its mark is missing, and its numbers are not there yet.
      let layout = calibration.plan.layout(model.record())
      let header = layout.header().count
      let cut = try #require(layout.blocks.lastIndex { $0 == "text/1" })
      var partial = whole
      let site = try #require(calibration.plan.blocks[cut].block.sites.first)
      let start = header + (layout.offsets().of[ExactString("\(site.name).count")] ?? 0)
      let end = header + (layout.offsets().of["blocks.similarity"] ?? 0)
      for place in start..<end { partial[place] = 0 }
      for block in cut..<layout.blocks.count {
        for byte in 0..<8 { partial[partial.count - 8 * (layout.blocks.count - block) + byte] = 0 }
      }
      #expect(partial != whole)
      try FileSystem.remove(path)
      try FileSystem.write(partial, to: path + ".partial")
      #expect(problem { try StatisticsFile(at: path + ".partial") }?.code == .statisticsFormat)
      #expect(problem { try model.calibrate(to: path) }?.code == .statisticsExist)
      var other = model.record()
      other.cut = "other windows"
      #expect(problem { try model.calibrate(to: path, resume: true, record: other) }?.code == .statisticsMismatch)
      _ = try model.calibrate(to: path, resume: true)
      #expect(try FileSystem.read(path) == whole)
      #expect(FileSystem.kind(path + ".partial") == nil)
      #expect(problem { try model.calibrate(to: path) }?.code == .statisticsExist)
    }
  }

  @Test func networksThatReadNoSingleTextAreRefused() throws {
    for name in ["t5_relu_tied", "vit_base_variant"] {
      let refused = try withTemporaryFolder { folder in problem { try Model(name: name).calibrate(to: "\(folder)/s") } }
      #expect(refused?.code == .networkInput, "\(name)")
    }
  }
}
