import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// A network reads what its description describes, all of it and nothing else.
@Suite struct ParameterUseTests {
  @Test(arguments: Golden.names.map(Golden.init))
  func everyParameterIsReadOnce(golden: Golden) throws {
    let checkpoint = try SafetensorsCheckpoint(at: golden.path)
    let network = try golden.network()
    let description = network.program.description
    var uses: [String: Int] = [:]
    for name in network.parametersRead { uses[name, default: 0] += 1 }

    for parameter in description.parameters where parameter.role.part != .buffer {
      let isStored = checkpoint.parameters.contains { stored in
        ([parameter.name] + parameter.aliases).contains { ExactString($0) == ExactString(stored.name) }
      }
      // A tensor that stacks others, or what others are tied to, is read under their names.
      let stands = description.parameters.contains { $0.tiedTo == parameter.name && uses[$0.name] != nil }
      if !parameter.replaces.isEmpty || stands { continue }
      let count = uses[parameter.name] ?? 0
      if parameter.isOptional && !isStored && count == 0 { continue }
      #expect(count == 1, "\(parameter.name)")
    }
    #expect(Set(uses.keys).subtracting(description.parameters.map(\.name)) == [])
  }

  /// Buffers and copies of tied parameters are not missed.
  @Test(arguments: Golden.names.map(Golden.init))
  func whatGoldensStoreIsRead(golden: Golden) throws {
    let network = try golden.network()
    #expect(network.unreadParameters == [] && network.warnings == [])
  }

  @Test func layersThatTheConfigDoesNotAskForAreNamed() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path)
    let network = try Network(
      Lacking(checkpoint, nil, config: ["num_hidden_layers": 1]), workers: Golden.workers)
    let last = checkpoint.parameters.map(\.name).filter { $0.hasPrefix("model.layers.1.") }
    #expect(last.count == 9 && network.unreadParameters == last)
    let warning = try #require(network.warnings.first)
    #expect(network.warnings.count == 1 && warning.severity == .warning && warning.code == .networkParameter)
    #expect(warning.message.hasPrefix("9 stored tensors are read by nothing: \(last[0]), "))
  }

  /// A tied head that is stored is read, a buffer of another writer follows from the config; the rest is named.
  @Test func copiesAndBuffersAreNotUnread() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden("qwen2_tied_bf16").path)
    var model = Lacking(checkpoint)
    var head = try #require(checkpoint.parameters.first { $0.name == "model.embed_tokens.weight" })
    var (buffer, extra) = (head, head)
    head.name = "lm_head.weight"
    buffer.name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    extra.name = "model.extra.weight"
    model.parameters += [head, buffer, extra]
    #expect(try Network(model, workers: Golden.workers).unreadParameters == ["model.extra.weight"])
  }

  @Test func aMissingParameterIsNamed() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path)
    let lacking = Lacking(checkpoint, "model.layers.1.mlp.up_proj.weight")
    let problem = #expect(throws: Problem.self) { try Network(lacking, workers: Golden.workers) }
    #expect(problem?.code == .networkParameter)
    #expect(problem?.context.tensor == "model.layers.1.mlp.up_proj.weight")
  }

  @Test func aShapeThatContradictsTheConfigIsNamed() throws {
    let checkpoint = try SafetensorsCheckpoint(at: Golden("llama_gqa_untied").path)
    let other = Lacking(checkpoint, nil, config: ["intermediate_size": 96])
    let problem = #expect(throws: Problem.self) { try Network(other, workers: Golden.workers) }
    #expect(problem?.code == .networkParameter)
    #expect(problem?.message == "the shape is [80, 48], and [96, 48] by the config")
  }
}

/// A checkpoint without one of its parameters, or with other config keys.
struct Lacking: Checkpoint {
  let location = "changed"
  let config: JSON?
  var parameters: [Parameter]
  let folder: String? = nil
  let weightFiles: [String]
  let warnings: [Problem] = []

  init(_ base: any Checkpoint, _ name: String? = nil, config changes: JSON = [:]) {
    var config = base.config
    for (key, value) in changes.members?.pairs ?? [] { config?[key] = value }
    self.config = config
    parameters = base.parameters.filter { $0.name != name }
    weightFiles = base.weightFiles
  }
}
